"""Asking with one id, however often and wherever, is one question: the model is asked once."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.fakes.client import Refused
from tests.fakes.programs import RedisServer
from tests.faults.stack import LONG_LEASE_S, Stack, stack_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack_of_module(redis_of_module: RedisServer, use_xread: str) -> AsyncIterator[Stack]:
    """A stack in which nothing is taken over, so that every request is one for a question."""
    async with stack_of(redis_of_module, LEASE_S=str(LONG_LEASE_S), USE_XREAD=use_xread) as stack:
        yield stack


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def programs(stack: Stack) -> None:
    """Two servers and two workers."""
    await stack.have(servers=2, workers=2)


async def test_at_two_servers_at_the_same_moment(stack: Stack) -> None:
    """Twenty people who bring one id to two servers at once read one answer."""
    people = [await stack.person(stack.servers[n % 2]) for n in range(20)]
    question_id = str(uuid.uuid4())
    answers = await asyncio.gather(
        *(person.ask("Who asked first?", question_id=question_id) for person in people)
    )
    await stack.whole(*answers)
    assert all(answer.metas == answers[0].metas for answer in answers)
    assert len(stack.model.requests_for("Who asked first?")) == 1


async def test_a_double_click(stack: Stack) -> None:
    """Asking again on the same connection while the answer runs begins nothing anew."""
    person = await stack.person()
    answer = await person.ask("Click, click? [[hold=30]]")
    answer.replayed = True
    await asyncio.gather(
        *(person.ask(answer.question, question_id=answer.question_id) for _ in range(3))
    )
    await answer.received(10)
    await person.ask(answer.question, question_id=answer.question_id)
    stack.model.go_on(answer.question)
    await stack.whole(answer)
    assert len(stack.model.requests_for(answer.question)) == 1


async def test_again_after_a_reconnect(stack: Stack) -> None:
    """Who lost the connection and asks the other server again gets the one answer whole."""
    person, again = await stack.person(stack.servers[0]), await stack.person(stack.servers[1])
    answer = await person.ask("Did you hear me?")
    await answer.received(10)
    repeated = await again.ask(answer.question, question_id=answer.question_id)
    await stack.whole(answer, repeated)
    assert repeated.metas == answer.metas
    assert len(stack.model.requests_for(answer.question)) == 1


async def test_again_after_the_end(stack: Stack) -> None:
    """Asking an answered question again gives the stored answer."""
    person = await stack.person()
    answer = await person.ask("What was it?")
    await stack.whole(answer)
    again = await (await stack.person()).ask(answer.question, question_id=answer.question_id)
    await stack.whole(again)
    assert again.metas == answer.metas
    assert len(stack.model.requests_for(answer.question)) == 1


async def test_the_server_dies_while_it_is_asked(stack: Stack) -> None:
    """A question whose server dies before it acknowledges is asked again, and runs once."""
    dying, staying = stack.servers
    people = [await stack.person(dying, staying) for _ in range(10)]
    asking = [
        asyncio.create_task(person.ask(f"Did it get through {n}?"))
        for n, person in enumerate(people)
    ]
    await asyncio.sleep(0)  # the questions are on their way
    await stack.kill(dying)
    answers = await asyncio.gather(*asking)
    await stack.whole(*answers)
    assert [len(stack.model.requests_for(answer.question)) for answer in answers] == [1] * 10


async def test_one_id_for_two_questions(stack: Stack) -> None:
    """An id that stands for another question is refused, and that one's words are not shown."""
    person, stranger = await stack.person(), await stack.person()
    answer = await person.ask("Mine?")
    with pytest.raises(Refused) as refused:
        await stranger.ask("Mine as well?", question_id=answer.question_id)
    assert refused.value.code == "invalid_request"
    await stack.whole(answer)
    assert stranger.answers[answer.question_id].metas == []
    stranger.answers.clear()
