"""Redis stays bounded: what is too old is gone, and said to be gone."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.fakes.client import Refused
from tests.fakes.programs import RedisServer
from tests.faults.stack import Stack, stack_of, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

RETENTION_S = 3.0
STREAMS = {"OPENAI_STREAM", "OPENAI_QUESTIONS", "OPENAI_STOPS"}
BELL_TTL_S = 5
GONE = -2  # what Redis says about a key that has just expired


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack_of_module(redis_of_module: RedisServer, use_xread: str) -> AsyncIterator[Stack]:
    """A stack that keeps answers for a few seconds."""
    async with stack_of(
        redis_of_module, RETENTION_S=str(RETENTION_S), USE_XREAD=use_xread
    ) as stack:
        yield stack


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def programs(stack: Stack) -> None:
    """Two servers and two workers."""
    await stack.have(servers=2, workers=2)


async def test_after_a_load_nothing_is_left_behind(stack: Stack) -> None:
    """When all is answered the queue is empty, and every key but the streams expires."""
    people = [await stack.person(stack.servers[n % 2]) for n in range(30)]
    answers = await asyncio.gather(
        *(person.ask(f"Load {n}? [[tokens=50]]") for n, person in enumerate(people))
    )
    await people[0].stop(answers[0].question_id)
    await stack.whole(*answers[1:])

    async def queue_empty() -> bool:
        pending = await stack.store.xpending("OPENAI_QUESTIONS", "OPENAI_WORKERS")
        return not pending["pending"] and not await stack.store.xlen("OPENAI_QUESTIONS")

    await until(queue_empty)
    async for key in stack.store.scan_iter():
        ttl_s = await stack.store.ttl(key)
        expires = ttl_s == GONE or 0 <= ttl_s <= max(RETENTION_S, BELL_TTL_S)
        assert key in STREAMS or expires, (key, ttl_s)


async def test_what_is_too_old_is_gone(stack: Stack) -> None:
    """Keys expire and the stream is trimmed; resuming says expired, also behind an entry."""
    person = await stack.person()
    answer = await person.ask("How long do you remember? [[tokens=20]]")
    await stack.whole(answer)

    async def forgotten() -> bool:
        keys = [key async for key in stack.store.scan_iter()]
        return set(keys) <= STREAMS and not await stack.entries(answer)

    await until(forgotten)
    cursor = answer.metas[len(answer.metas) // 2]["id"]
    for after in (None, cursor):
        with pytest.raises(Refused) as refused:
            await person.resume(answer.question_id, after=after)
        assert (refused.value.code, refused.value.error["retryable"]) == ("expired", False)
    again = await (await stack.person()).ask(answer.question, question_id=answer.question_id)
    await stack.whole(again)
    assert len(stack.model.requests_for(answer.question)) == 2


async def test_consumers_of_dead_workers_are_forgotten(stack: Stack) -> None:
    """The consumer of a worker that was killed does not stay in the group for ever."""
    answers = [await (await stack.person()).ask(f"Who consumes {n}?") for n in range(4)]
    await stack.whole(*answers)
    victim = stack.workers[0]
    await stack.kill(victim)

    async def forgotten() -> bool:
        consumers = await stack.store.xinfo_consumers("OPENAI_QUESTIONS", "OPENAI_WORKERS")
        return not any(f"-{victim.process.pid}-" in each["name"] for each in consumers)

    await until(forgotten)
