"""Intake and leases: every question that is taken ends once, whatever happens to who takes it."""

import asyncio

import pytest

from backend.store.records import question_key
from backend.store.work_queue import QUEUE_STREAM
from tests.fakes.chains import STOP, FakeChain, silence
from tests.fakes.site import PATIENCE_S, Site, outcome

pytestmark = pytest.mark.usefixtures("shared_redis")  # it has to start outside of an event loop


# Intake


async def test_a_question_that_was_asked_twice_is_answered_once(site: Site) -> None:
    """A question that is asked again while it waits is one answer, and the queue is empty then."""
    chain = FakeChain("It is.", STOP)
    record = await site.ask()
    await site.ask(record.question_id)
    async with site.worker(chain):
        entries = await site.read(record)
        after = await site.settled(record)
    assert outcome(entries) == ("It is.", "done", None)
    assert (len(chain.asked), after.attempt) == (1, 1)


async def test_what_is_no_question_is_removed(site: Site) -> None:
    """Entries that another program has put into the queue do not stay in it."""
    chain = FakeChain("It is.", STOP)
    await site.redis.xadd(QUEUE_STREAM, {"questionId": "unknown"})
    await site.redis.xadd(QUEUE_STREAM, {"foreign": "fields"})
    async with site.worker(chain):
        record = await site.ask()
        await site.settled(record)
    assert len(chain.asked) == 1


async def test_a_question_whose_record_is_gone_is_removed(site: Site) -> None:
    """A question that has expired before anybody took it is not answered."""
    chain = FakeChain("It is.", STOP)
    expired = await site.ask()
    await site.redis.delete(question_key(expired.question_id))
    async with site.worker(chain):
        await site.settled(await site.ask())
    assert len(chain.asked) == 1
    assert await site.stored(expired) == []


async def test_a_worker_takes_no_more_than_it_may(site: Site) -> None:
    """A question for which a worker has no room waits in the queue until it has."""
    gate = asyncio.Event()
    chain = FakeChain("It ", gate, "is.", STOP)
    records = [await site.ask() for _ in range(3)]
    async with site.worker(chain, worker_concurrency=1):
        await site.heard(records[0], "It ")
        assert len(chain.asked) == 1
        gate.set()
        for record in records:
            assert outcome(await site.read(record)) == ("It is.", "done", None)
            await site.settled(records[-1])


async def test_many_questions_at_once(site: Site) -> None:
    """Two workers share many questions: each is answered once, and the queue is empty then."""
    chains = [FakeChain("It ", "is.", STOP) for _ in range(2)]
    async with site.worker(chains[0], lease_s=60), site.worker(chains[1], lease_s=60):
        records = [await site.ask() for _ in range(40)]
        answers = await asyncio.gather(*map(site.read, records))
        await site.settled(records[-1])
    assert {outcome(entries) for entries in answers} == {("It is.", "done", None)}
    assert sum(len(chain.asked) for chain in chains) == 40


async def test_a_worker_goes_on_after_redis_was_emptied(site: Site) -> None:
    """A worker whose queue has vanished makes it anew and answers the next question."""
    async with site.worker(FakeChain("It is.", STOP)):
        await site.settled(await site.ask())
        await site.redis.flushall()
        record = await site.ask()
        assert outcome(await site.read(record)) == ("It is.", "done", None)
        await site.settled(record)


async def test_a_fault_at_one_question_does_not_touch_the_others(site: Site) -> None:
    """A worker that stumbles over one question goes on with the next one."""
    chain = FakeChain("half ", TypeError())
    async with site.worker(chain, lease_s=60):
        await site.heard(await site.ask(), "half ")
        await chain.closed.wait()
        await site.heard(await site.ask(), "half ")


# Crashes


async def test_a_dead_workers_question_is_taken_over(site: Site) -> None:
    """After a lease another worker begins anew: one whole answer, and nothing twice."""
    async with site.worker(FakeChain("half ", silence())):
        record = await site.ask()
        await site.heard(record, "half ")
    async with site.worker(FakeChain("It is.", STOP)):
        entries = await site.read(record)
        after = await site.settled(record)
    assert outcome(entries) == ("It is.", "done", None)
    assert [(entry.attempt, entry.number) for entry in entries] == [
        *((1, 0), (1, 1)),
        *((2, 0), (2, 1), (2, 2)),
    ]
    assert (after.attempt, after.lapses) == (2, 1)


@pytest.mark.parametrize("max_attempts", [1, 2])
async def test_after_the_last_attempt_the_answer_is_interrupted(
    site: Site, max_attempts: int
) -> None:
    """A question whose workers die ends after so many attempts, with what the last one said."""
    record = await site.ask()
    for attempt in range(1, max_attempts + 1):
        async with site.worker(FakeChain(f"try {attempt} ", silence()), max_attempts=max_attempts):
            await site.heard(record, f"try {attempt} ")
    chain = FakeChain("It is.", STOP)
    async with site.worker(chain, max_attempts=max_attempts):
        entries = await site.read(record)
        after = await site.settled(record)
    assert outcome(entries) == (f"try {max_attempts} ", "failed", "interrupted")
    assert (after.status, after.lapses, chain.asked) == ("failed", max_attempts, [])


async def test_a_worker_that_was_taken_over_falls_silent(site: Site) -> None:
    """A worker that finds another owner in the record leaves the model and says no END."""
    chain = FakeChain("half ", silence())
    async with site.worker(chain, lease_s=2):
        record = await site.ask()
        await site.heard(record, "half ")
        await site.changed(record, lambda current: current.begun("another", None))
        async with asyncio.timeout(PATIENCE_S):
            await chain.closed.wait()
    assert [entry.text for entry in (await site.stored(record))[1:]] == ["half "]
    after = await site.changed(record, lambda current: current)
    assert (after.owner, after.attempt, after.ended) == ("another", 2, False)
