"""The model fails: in time, in words, and without a second answer behind a first piece."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.fakes.programs import RedisServer
from tests.faults.stack import Stack, stack_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack_of_module(redis_of_module: RedisServer, use_xread: str) -> AsyncIterator[Stack]:
    """A stack with little patience for its model."""
    async with stack_of(
        redis_of_module,
        MODEL_FIRST_PIECE_TIMEOUT_S="3",
        MODEL_IDLE_TIMEOUT_S="2",
        MODEL_RETRIES="2",
        USE_XREAD=use_xread,
    ) as stack:
        yield stack


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def programs(stack: Stack) -> None:
    """A server and a worker."""
    await stack.have(servers=1, workers=1)


async def test_silent_from_the_start(stack: Stack) -> None:
    """A model that never says a word costs its timeout; its connection is closed."""
    answer = await (await stack.person()).ask("Hello? [[fault=stall_before_first]]")
    await stack.partial(answer, "failed", "model_timeout")
    assert answer.text == ""
    await stack.model.wait_closed(answer.question)
    assert len(stack.model.requests_for(answer.question)) == 1


async def test_silent_but_for_comments(stack: Stack) -> None:
    """Keep-alive comments are no words: the timeout runs on."""
    answer = await (await stack.person()).ask("Alive? [[fault=keepalive_comments_only]]")
    await stack.partial(answer, "failed", "model_timeout")
    await stack.model.wait_closed(answer.question)


async def test_silent_in_the_middle(stack: Stack) -> None:
    """A model that falls silent is given up after the idle timeout; its words are kept."""
    answer = await (await stack.person()).ask("And? [[fault=stall_after:10]]")
    await stack.partial(answer, "failed", "model_timeout")
    assert ".9" in answer.text
    await stack.model.wait_closed(answer.question)
    late = await stack.late_reader(answer)
    await stack.partial(late, "failed", "model_timeout")
    assert late.text == answer.text


async def test_failing_before_the_first_piece(stack: Stack) -> None:
    """A model that fails twice before its first word is asked again, and nobody can tell."""
    answer = await (await stack.person()).ask("Third time lucky? [[fault=fail_times:2]]")
    await stack.whole(answer)
    assert len(stack.model.requests_for(answer.question)) == 3
    assert (answer.attempt, answer.starts) == (1, 1)


async def test_failing_too_often(stack: Stack) -> None:
    """A model that fails more often than it is retried ends the answer, with no words."""
    answer = await (await stack.person()).ask("Ever? [[fault=fail_times:9]]")
    await stack.partial(answer, "failed", "model_unavailable")
    assert len(stack.model.requests_for(answer.question)) == 3


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("cut_after:10", "model_error"),
        ("error_event_after:10", "model_unavailable"),  # it says that the server had a fault
        ("clean_eof_after:10", "model_error"),
    ],
)
async def test_failing_after_the_first_piece(stack: Stack, fault: str, code: str) -> None:
    """Behind words that people have read, there is no second try: they are kept, and it ends."""
    answer = await (await stack.person()).ask(f"Twice? [[fault={fault} times=1]]")
    await stack.partial(answer, "failed", code)
    assert ".9" in answer.text
    assert len(stack.model.requests_for(answer.question)) == 1


async def test_many_silent_models_delay_nobody(stack: Stack) -> None:
    """While fifty answers hang at a silent model, another one goes through at once."""
    person = await stack.person()
    hanging = [await person.ask(f"Hanging {n}? [[fault=stall_before_first]]") for n in range(50)]
    answer = await (await stack.person()).ask("Through?")
    await stack.whole(answer)
    for each in hanging:
        await stack.partial(each, "failed", "model_timeout")
