"""Deploys: processes are told to end while people read, and nobody loses a word."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from tests.fakes.client import Refused
from tests.fakes.programs import Program, RedisServer
from tests.faults.stack import LONG_LEASE_S, Stack, stack_of, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENDS_S = 8.0  # well below a second where nothing else runs; this is for busy machines
POST_ENDS_S = 10.0  # the connection of a POST that waits has a grace of its own


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack_of_module(redis_of_module: RedisServer, use_xread: str) -> AsyncIterator[Stack]:
    """A stack in which nothing but a handover is quick."""
    async with stack_of(redis_of_module, LEASE_S=str(LONG_LEASE_S), USE_XREAD=use_xread) as stack:
        yield stack


async def ends_in_time(stack: Stack, leaving: Program, seconds: float = ENDS_S) -> float:
    """Tell a program to end; it does, in time and with status 0."""
    began = time.monotonic()
    stack.terminate(leaving)
    assert await leaving.ended() == 0
    took_s = time.monotonic() - began
    assert took_s < seconds
    return took_s


async def test_a_server_that_people_are_connected_to(stack: Stack) -> None:
    """A server with open sockets and running readers ends in time; its clients resume elsewhere."""
    await stack.have(servers=2, workers=1)
    leaving, staying = stack.servers
    people = [await stack.person(leaving, staying) for _ in range(20)]
    answers = [
        await person.ask(f"Who moves on {n}? [[interval_ms=30]]") for n, person in enumerate(people)
    ]
    await asyncio.gather(*(answer.received(10) for answer in answers))
    took_s = await ends_in_time(stack, leaving)
    await stack.whole(*answers)
    print(f"\nserver with 20 readers ended in {took_s:.2f} s")  # noqa: T201
    assert all(answer.attempt == 1 for answer in answers)
    await asyncio.gather(*(person.connected(2) for person in people))
    assert all(person.connects == 2 for person in people)


async def test_a_worker_without_grace_hands_over_at_once(stack: Stack) -> None:
    """What a leaving worker cannot finish is begun anew by another, without waiting for a lease."""
    await stack.have(servers=1, workers=2)
    answer = await (await stack.person()).ask("Who hands over? [[interval_ms=30 hold=40]]")
    await answer.received(20)
    leaving = await stack.busy_worker(answer)
    began = time.monotonic()
    stack.terminate(leaving)
    await answer.begun_anew(2)
    took_s = time.monotonic() - began
    print(f"\nhanded over in {took_s:.2f} s")  # noqa: T201
    assert took_s < 1.5
    stack.model.go_on(answer.question)
    await stack.whole(answer)
    record = await stack.settled(answer)
    assert (record["attempt"], record["lapses"]) == (2, 0)
    assert await leaving.ended() == 0


async def test_a_worker_with_grace_finishes(stack: Stack) -> None:
    """What a leaving worker can finish in its grace it finishes."""
    await stack.have(servers=1, workers=0)
    leaving = await stack.worker(SHUTDOWN_GRACE_S="10")
    answer = await (await stack.person()).ask("Who finishes? [[interval_ms=20 hold=40]]")
    await answer.received(20)
    stack.terminate(leaving)
    stack.model.go_on(answer.question)
    await stack.whole(answer)
    assert answer.attempt == 1
    assert await leaving.ended() == 0


async def test_a_leaving_worker_takes_nothing_new(stack: Stack) -> None:
    """A question that comes while the only worker leaves waits for the next one."""
    await stack.have(servers=1, workers=0)
    both = await stack.start(SHUTDOWN_GRACE_S="10")
    await both.ready()
    person = await stack.person(both)
    first = await person.ask("Who is last? [[interval_ms=30 hold=20]]")
    await first.received(5)
    stack.terminate(both)
    await until(lambda: not_ready(stack, both))
    other = await stack.person()
    second = await other.ask("Who is next? [[interval_ms=30]]")
    with pytest.raises(Refused) as refused:
        await person.ask("Me, too?")
    assert refused.value.code == "busy"
    stack.model.go_on(first.question)
    await stack.whole(first)
    assert await both.ended() == 0
    assert stack.model.requests_for(second.question) == []
    await stack.have(servers=1, workers=1)
    await stack.whole(second)
    assert second.attempt == 1
    person.answers = {first.question_id: first}


async def not_ready(stack: Stack, server: Program) -> bool:
    """Whether a server says that it takes no questions, which it does as long as it can."""
    async with stack.http.get(f"{server.url}/readyz") as response:
        return response.status == 503


async def test_handed_over_again_and_again(stack: Stack) -> None:
    """However many deploys a question lives through, it counts as interrupted by none."""
    await stack.have(servers=1, workers=4)
    answer = await (await stack.person()).ask("How often? [[interval_ms=20 hold=20]]")
    for attempt in (2, 3, 4):
        await answer.received(5)
        stack.terminate(await stack.busy_worker(answer))
        await answer.begun_anew(attempt)
    stack.model.go_on(answer.question)
    await stack.whole(answer)
    record = await stack.settled(answer)
    assert (record["attempt"], record["lapses"]) == (4, 0)


async def test_a_post_that_waits(stack: Stack) -> None:
    """A POST whose server ends breaks in time; the answer is finished, and kept."""
    await stack.have(servers=2, workers=1)
    leaving = stack.servers[0]
    question = "Who posts? [[interval_ms=30 tokens=200]]"
    body = {"topic": "Redis", "topicQuestion": question}
    url = f"{leaving.url}/askQuestionWithoutStream"
    posting = asyncio.create_task(stack.http.post(url, json=body))
    await stack.model.wait_sent(question, 10)
    await ends_in_time(stack, leaving, POST_ENDS_S)
    with pytest.raises(aiohttp.ClientError):
        await posting
    request = await stack.model.wait_closed(question)
    assert request.completed


async def test_a_rolling_restart_under_load(stack: Stack) -> None:
    """Two servers and two workers are replaced one by one under twenty people; all is whole."""
    await stack.have(servers=2, workers=2)
    asked = []
    people = []
    rolled = asyncio.Event()

    async def keep_asking(number: int) -> None:
        person = await stack.person(stack.servers[number % 2])
        people.append(person)
        for turn in itertools.count():
            question = f"Rolling {number}, {turn}? [[interval_ms=40]]"
            answer = await person.ask(question, persistent=True)  # one that leaves takes none
            asked.append(answer)
            await stack.whole(answer, timeout_s=40)
            if turn and rolled.is_set():
                return

    load = [asyncio.create_task(keep_asking(number)) for number in range(20)]
    await stack.model.wait_sent("Rolling 19, 0? [[interval_ms=40]]", 10)
    began = time.monotonic()
    old_servers, old_workers = list(stack.servers), list(stack.workers)
    new_server, *_ = await asyncio.gather(stack.server(), stack.worker())
    for person in people:
        person.urls[:] = [new_server.url]
    await ends_in_time(stack, old_servers[0])
    await ends_in_time(stack, old_workers[0])
    await asyncio.gather(stack.server(), stack.worker())
    await ends_in_time(stack, old_servers[1])
    await ends_in_time(stack, old_workers[1])
    took_s = time.monotonic() - began
    rolled.set()
    await asyncio.gather(*load)
    moved = sum(answer.attempt > 1 for answer in asked)
    print(f"\nrolled in {took_s:.1f} s; {moved} of {len(asked)} answers were handed over")  # noqa: T201
    assert len(asked) >= 40
    assert moved
    for answer in asked:
        assert (await stack.settled(answer))["lapses"] == 0
