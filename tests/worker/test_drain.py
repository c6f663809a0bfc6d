"""Drains: a worker that leaves finishes its answers, or hands them over."""

import asyncio

import pytest

from backend.store.work_queue import QUEUE_GROUP, QUEUE_STREAM
from backend.worker.worker import CLAIM_AT_ONCE, HEARTBEATS_PER_LEASE
from tests.fakes.chains import STOP, FakeChain, silence
from tests.fakes.site import PATIENCE_S, Site, outcome

pytestmark = pytest.mark.usefixtures("shared_redis")  # it has to start outside of an event loop


async def test_a_drain_lets_answers_finish(site: Site) -> None:
    """Within its grace a drain waits for what is in work, and nothing is pending then."""
    gate = asyncio.Event()
    async with site.worker(FakeChain("It ", gate, "is.", STOP)) as worker:
        record = await site.ask()
        await site.heard(record, "It ")
        draining = asyncio.create_task(worker.drain(PATIENCE_S))
        gate.set()
        await draining
        after = await site.settled(record)
        consumers = await site.redis.xinfo_consumers(QUEUE_STREAM, QUEUE_GROUP)
    assert outcome(await site.read(record)) == ("It is.", "done", None)
    assert (after.attempt, [consumer["pending"] for consumer in consumers]) == (1, [0])


async def test_a_drain_hands_over_what_it_cannot_finish(site: Site) -> None:
    """Past its grace another worker begins anew, long before a lease would have run out."""
    leaving, staying = FakeChain("half ", silence()), FakeChain("It is.", STOP)
    lease_s = 5.0
    async with site.worker(leaving, lease_s=lease_s) as worker:
        record = await site.ask()
        await site.heard(record, "half ")
        async with site.worker(staying, lease_s=lease_s), asyncio.timeout(lease_s / 2):
            await worker.drain(0.01)
            entries = await site.read(record)
            after = await site.settled(record)
    assert outcome(entries) == ("It is.", "done", None)
    assert (after.attempt, after.lapses) == (2, 0)
    assert leaving.closed.is_set()


async def test_a_handover_says_no_end(site: Site) -> None:
    """A worker that hands over leaves the answer open, for the other one to end."""
    async with site.worker(FakeChain("half ", silence())) as worker:
        record = await site.ask()
        await site.heard(record, "half ")
        await worker.drain(0)
    assert [entry.text for entry in (await site.stored(record))[1:]] == ["half "]
    after = await site.changed(record, lambda current: current)
    assert (after.status, after.released) == ("running", True)


async def test_everything_that_was_handed_over_is_begun_at_once(site: Site) -> None:
    """However many questions a worker leaves, the next one takes all in one beat of its heart."""
    many, beat_s = CLAIM_AT_ONCE + 1, 6.0
    async with site.worker(FakeChain("half ", silence())) as worker:
        records = [await site.ask() for _ in range(many)]
        await asyncio.gather(*(site.heard(record, "half ") for record in records))
        await worker.drain(0)
    whole = FakeChain("It is.", STOP)
    async with site.worker(whole, lease_s=beat_s * HEARTBEATS_PER_LEASE):
        async with asyncio.timeout(beat_s - 1):
            answers = await asyncio.gather(*map(site.read, records))
    assert {outcome(entries) for entries in answers} == {("It is.", "done", None)}
    assert len(whole.asked) == many


async def test_a_drained_worker_takes_nothing_new(site: Site) -> None:
    """A question that is asked after a drain is left to the workers that stay."""
    leaving, staying = FakeChain("first", STOP), FakeChain("second", STOP)
    async with site.worker(leaving, lease_s=60) as worker:
        before = await site.ask()
        await site.read(before)
        await worker.drain(PATIENCE_S)
        record = await site.ask()
        async with site.worker(staying, lease_s=60):
            entries = await site.read(record)
            await site.settled(record)
    assert outcome(entries) == ("second", "done", None)
    assert len(leaving.asked) == 1


async def test_an_idle_worker_drains_at_once(site: Site) -> None:
    """A drain with nothing in work returns, and may be asked for twice."""
    async with site.worker(FakeChain("It is.", STOP)) as worker:
        await site.read(await site.ask())
        await worker.drain(PATIENCE_S)
        await worker.drain(PATIENCE_S)
