"""Redis fails: running answers pause and go on, new questions are refused, nothing is doubled."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.fakes.client import PATIENCE_S, Answer, Client, Refused
from tests.fakes.openai_endpoint import piece_count
from tests.fakes.programs import RedisServer
from tests.fakes.proxy import Proxy
from tests.faults.stack import Stack, stack_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

REFUSED_S = 2.0
PAUSE_S = 6.0  # longer than what our clients wait for a reply
OUTAGE_S = 1.0
RECOVERED_S = 4.0  # after Redis is back


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def proxy(redis_of_module: RedisServer) -> AsyncIterator[Proxy]:
    """The network between our programs and Redis."""
    async with Proxy(redis_of_module.port) as proxy:
        yield proxy


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack_of_module(
    redis_of_module: RedisServer, proxy: Proxy, use_xread: str
) -> AsyncIterator[Stack]:
    """A stack with the default lease, which reaches its Redis through the proxy."""
    async with stack_of(redis_of_module, LEASE_S="", USE_XREAD=use_xread) as stack:
        stack.redis_url = f"redis://127.0.0.1:{proxy.port}/0"
        yield stack


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def programs(stack: Stack, proxy: Proxy) -> None:
    """One server and two workers, so that a takeover would be possible."""
    await proxy.heal()  # a test that failed may have left it broken
    await stack.have(servers=1, workers=2)


async def running(stack: Stack, *questions: str) -> list[Answer]:
    """Answers to these questions, each with a person of its own, that have begun."""
    answers = [await (await stack.person()).ask(question) for question in questions]
    await asyncio.gather(*(answer.received(10) for answer in answers))
    return answers


async def refused_in_time(stack: Stack, person: Client) -> None:
    """A new question is refused for now, in time; the process says that it is not ready."""
    began = time.monotonic()
    with pytest.raises(Refused) as refused:
        await person.ask("Anybody home?")
    took_s = time.monotonic() - began
    person.answers.clear()
    assert (refused.value.code, refused.value.error["retryable"]) == ("storage_unavailable", True)
    assert took_s < REFUSED_S
    async with stack.http.get(f"{stack.servers[0].url}/readyz") as response:
        assert response.status == 503
    async with stack.http.get(f"{stack.servers[0].url}/healthz") as response:
        assert response.status == 200


async def whole_without_takeover(stack: Stack, *answers: Answer) -> None:
    """The same attempt goes on to the end; late readers agree."""
    await stack.whole(*answers)
    for answer in answers:
        assert answer.attempt == 1
        assert len(stack.model.requests_for(answer.question)) == 1
        late = await stack.late_reader(answer)
        await stack.whole(late)
        assert late.text == answer.text


async def healed(stack: Stack, what: str) -> None:
    """New questions are taken and answered again, soon."""
    back = time.monotonic()
    await stack.servers[0].ready()
    after = await (await stack.person()).ask(f"Are you back after {what}? [[tokens=5]]")
    await after.received(1)
    took_s = time.monotonic() - back
    print(f"\n{what}: first piece of a new answer {took_s:.1f} s after")  # noqa: T201
    assert took_s < RECOVERED_S
    await stack.whole(after)


async def test_killed_and_started_again(stack: Stack) -> None:
    """Answers go on where they were when Redis comes back with its data."""
    person = await stack.person()
    answers = await running(stack, *(f"Who was killed {n}? [[interval_ms=30]]" for n in range(3)))
    stack.redis.kill()
    await refused_in_time(stack, person)
    await asyncio.to_thread(stack.redis.start)
    await healed(stack, "a restart")
    await whole_without_takeover(stack, *answers)


async def test_frozen_for_longer_than_we_wait_for_a_reply(stack: Stack) -> None:
    """Six seconds of silence from Redis are a pause; what was sent twice counts once."""
    person = await stack.person()
    answers = await running(stack, *(f"Who is frozen {n}? [[interval_ms=60]]" for n in range(3)))
    stack.redis.pause()
    paused = time.monotonic()
    try:
        await refused_in_time(stack, person)
        await stop_is_refused_in_time(person, answers[0])
        await asyncio.sleep(PAUSE_S - (time.monotonic() - paused))
    finally:
        stack.redis.go_on()
    await healed(stack, "a freeze")
    # The stop that was refused may have got through all the same.
    await answers[0].ended()
    await whole_without_takeover(stack, *answers[1:])


async def stop_is_refused_in_time(person: Client, answer: Answer) -> None:
    """A stop that cannot be carried out is acknowledged as such, in time."""
    began = time.monotonic()
    with pytest.raises(Refused) as refused:
        await person.stop(answer.question_id)
    assert refused.value.code == "storage_unavailable"
    assert time.monotonic() - began < REFUSED_S


async def test_the_connections_are_cut(stack: Stack, proxy: Proxy) -> None:
    """Connections that break in mid-answer, again and again, cost nothing but a moment."""
    answers = await running(stack, *(f"Who is cut {n}? [[interval_ms=20]]" for n in range(5)))
    for pieces in (20, 35, 50):
        await answers[0].received(pieces)
        proxy.cut()
    await healed(stack, "cuts")
    await whole_without_takeover(stack, *answers)


async def test_nobody_listens(stack: Stack, proxy: Proxy) -> None:
    """While connections to Redis are refused, answers wait; then they go on."""
    person = await stack.person()
    answers = await running(stack, *(f"Who is shut out {n}? [[interval_ms=20]]" for n in range(3)))
    await proxy.refuse()
    await refused_in_time(stack, person)
    for answer in answers:
        await stack.model.wait_closed(answer.question)
    await proxy.heal()
    await healed(stack, "a refusal")
    await whole_without_takeover(stack, *answers)


async def test_the_network_stalls(stack: Stack, proxy: Proxy) -> None:
    """Connections that stay open and silent are given up, and made anew."""
    person = await stack.person()
    answers = await running(stack, *(f"Who is stalled {n}? [[interval_ms=60]]" for n in range(3)))
    proxy.stall()
    stalled = time.monotonic()
    await refused_in_time(stack, person)
    await asyncio.sleep(PAUSE_S - (time.monotonic() - stalled))
    proxy.cut()
    await proxy.heal()
    await healed(stack, "a stall")
    await whole_without_takeover(stack, *answers)


async def test_replies_are_lost(stack: Stack, proxy: Proxy) -> None:
    """What Redis did, and could not say that it had done, is sent again and counts once."""
    answers = await running(
        stack, *(f"Who is unheard {n}? [[interval_ms=20 tokens=200]]" for n in range(3))
    )
    for _ in range(2):
        proxy.swallow_replies()
        async with asyncio.timeout(PATIENCE_S):
            await proxy.swallowed_reply_to(b"XADD")
        written = piece_count((await stack.stored(answers[0])).text)
        proxy.cut()
        await proxy.heal()
        await answers[0].received(written + 1)  # its worker is connected again
    await whole_without_takeover(stack, *answers)
    doubled = 0
    for answer in answers:
        entries = await stack.entries(answer)
        doubled += len(entries) - len({entry.number for entry in entries})
    print(f"\n{doubled} entries stand twice in the stream")  # noqa: T201
    assert doubled


async def test_a_stop_during_an_outage(stack: Stack, proxy: Proxy) -> None:
    """A stop is refused for now while Redis is away, and works when it is back."""
    (answer,) = await running(stack, "Who stops whom? [[tokens=5000 interval_ms=20]]")
    person = await stack.person()
    await proxy.refuse()
    await stop_is_refused_in_time(person, answer)
    await proxy.heal()
    await stack.servers[0].ready()
    assert (await person.stop(answer.question_id))["status"] == "stopped"
    await stack.partial(answer, "stopped")
    await stack.model.wait_closed(answer.question)


async def test_readers_come_during_an_outage(stack: Stack, proxy: Proxy) -> None:
    """A reader whose connection breaks while Redis is away goes on when it is back."""
    answers = await running(stack, *(f"Who reconnects {n}? [[interval_ms=20]]" for n in range(3)))
    await proxy.refuse()
    server = stack.servers[0]
    for person in stack.people:
        await person.drop()
        await person.connected(2)
    await refused_in_time(stack, await stack.person())
    await proxy.heal()
    await server.ready()
    await whole_without_takeover(stack, *answers)


async def test_a_process_that_ends_during_an_outage(stack: Stack, proxy: Proxy) -> None:
    """SIGTERM ends servers and workers in time though Redis is away; the answer is whole later."""
    (answer,) = await running(stack, "Who leaves? [[interval_ms=20]]")
    leaving = [*stack.servers, *stack.workers]
    proxy.stall()
    for each in leaving:
        stack.terminate(each)
    for each in leaving:
        assert await each.ended(5.0) == 0
    proxy.cut()
    await proxy.heal()
    # Nothing could be handed over, so it takes a lease: that of the new worker, a short one.
    _, heir = await asyncio.gather(stack.server(), stack.worker(LEASE_S="2"))
    stack.people[0].urls[:] = [stack.servers[0].url]
    await stack.whole(answer)
    await stack.kill(heir)  # beside others its lease would be too short


async def test_redis_comes_last(own_stack: Stack) -> None:
    """Programs that are started before Redis wait for it, and say so on /readyz."""
    own_stack.redis.kill()
    both = await own_stack.start()
    await both.printed("Backend:")
    async with own_stack.http.get(f"{both.url}/readyz") as response:
        assert response.status == 503
    person = await own_stack.person(both)
    with pytest.raises(Refused) as refused:
        await person.ask("Too early?")
    assert refused.value.code == "storage_unavailable"
    person.answers.clear()
    await asyncio.to_thread(own_stack.redis.start)
    await both.ready()
    await own_stack.whole(await person.ask("In time?"))


async def test_emptied_in_the_middle(stack: Stack) -> None:
    """When everything is deleted in mid-answer, its readers end with what it is: expired."""
    answers = await running(stack, *(f"Who forgot {n}? [[tokens=5000]]" for n in range(3)))
    await stack.store.flushall()
    flushed = time.monotonic()
    for answer in answers:
        await answer.ended()
        assert answer.error
        assert answer.error["code"] == "expired"
        await stack.model.wait_closed(answer.question)
    print(f"\nlast reader told {time.monotonic() - flushed:.1f} s after FLUSHALL")  # noqa: T201
    with pytest.raises(Refused) as refused:
        await stack.late_reader(answers[0])
    assert refused.value.code == "expired"
    await healed(stack, "being emptied")


async def test_emptied_after_a_takeover(stack: Stack) -> None:
    """Readers who see a second attempt are told the end as well."""
    answer = await (await stack.person()).ask("Who forgot the second? [[tokens=5000]]")
    await answer.received(5)
    leaving = await stack.busy_worker(answer)
    stack.terminate(leaving)
    await answer.begun_anew(2)
    await stack.store.flushall()
    await answer.ended()
    assert answer.error
    assert answer.error["code"] == "expired"
    await leaving.ended()


async def test_the_log_of_an_answer_is_deleted(stack: Stack) -> None:
    """Who reads live has the whole answer; nobody is shown the rest of it as if it were all."""
    (answer,) = await running(stack, "Who deletes? [[interval_ms=30]]")
    await answer.received(60)
    assert await stack.store.delete(f"answers:{answer.question_id}")
    middle = await stack.late_reader(answer)
    await middle.ended()
    await stack.whole(answer)
    late = await stack.late_reader(answer)
    await late.ended()
    for reader in (middle, late):
        assert (reader.error or {}).get("code") == "expired"
        assert reader.text == ""


async def test_the_stream_is_trimmed_under_a_reader(stack: Stack) -> None:
    """A trim of what all read live takes nobody's answer away, live or late."""
    (answer,) = await running(stack, "Who trims? [[interval_ms=30]]")
    await answer.received(50)
    await stack.store.xtrim(await stack.stream(answer), maxlen=0)
    late = await stack.late_reader(answer)
    await stack.whole(answer, late)
    await stack.store.xtrim(await stack.stream(answer), maxlen=0)
    too_late = await stack.late_reader(answer)
    await stack.whole(too_late)
    assert too_late.metas == answer.metas
