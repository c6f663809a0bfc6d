"""Stops: whoever has the question, and whether anybody has, it ends as stopped."""

import pytest

from tests.fakes.chains import STOP, FakeChain, StubbornChain, silence
from tests.fakes.site import Site, outcome

pytestmark = pytest.mark.usefixtures("shared_redis")  # it has to start outside of an event loop


async def test_a_running_answer_is_stopped(site: Site) -> None:
    """A stop leaves the model at once, keeps what was said, and ends the answer."""
    chain = FakeChain("half ", silence())
    async with site.worker(chain):
        record = await site.ask()
        await site.heard(record, "half ")
        stopped = await site.stop(record)
        entries = await site.read(record)
        after = await site.settled(record)
    assert stopped.status == after.status == "stopped"
    assert outcome(entries) == ("half ", "stopped", None)
    assert after.attempt == 1
    assert chain.closed.is_set()


async def test_a_stop_is_heard_although_the_first_cancellation_was_swallowed(site: Site) -> None:
    """A library that swallows a cancellation is cancelled again."""
    async with site.worker(StubbornChain()):
        record = await site.ask()
        await site.heard(record, "half ")
        await site.stop(record)
        entries = await site.read(record)
        after = await site.settled(record)
    assert outcome(entries) == ("half ", "stopped", None)
    assert after.attempt == 1


async def test_a_wish_that_was_not_heard_is_found_in_the_record(site: Site) -> None:
    """A worker that missed the wish to stop finds it with its next heartbeat."""
    chain = FakeChain("half ", silence())
    async with site.worker(chain):
        record = await site.ask()
        await site.heard(record, "half ")
        await site.changed(record, lambda current: current.stopping())
        entries = await site.read(record)
        await site.settled(record)
    assert outcome(entries) == ("half ", "stopped", None)


async def test_a_queued_question_is_stopped_without_a_worker(site: Site) -> None:
    """A question that nobody has taken ends at once, with a START and an END."""
    record = await site.ask()
    assert (await site.stop(record)).status == "stopped"
    assert outcome(await site.read(record)) == ("", "stopped", None)


async def test_a_question_that_was_stopped_is_not_answered(site: Site) -> None:
    """A worker that takes a stopped question drops it, without a word to the model."""
    chain = FakeChain("It is.", STOP)
    record = await site.ask()
    await site.stop(record)
    stored = await site.stored(record)
    async with site.worker(chain):
        await site.settled(record)
    assert chain.asked == []
    assert await site.stored(record) == stored


async def test_a_worker_ends_a_question_that_is_to_be_stopped(site: Site) -> None:
    """A wish to stop that stands in the record before anybody began is carried out."""
    chain = FakeChain("It is.", STOP)
    record = await site.ask()
    await site.changed(record, lambda current: current.stopping())
    async with site.worker(chain):
        entries = await site.read(record)
        after = await site.settled(record)
    assert outcome(entries) == ("", "stopped", None)
    assert (after.status, chain.asked) == ("stopped", [])


async def test_a_dead_workers_question_can_be_stopped(site: Site) -> None:
    """A wish to stop outlives the worker: the next one ends the answer and keeps its words."""
    async with site.worker(FakeChain("half ", silence())):
        record = await site.ask()
        await site.heard(record, "half ")
    await site.changed(record, lambda current: current.stopping())
    chain = FakeChain("It is.", STOP)
    async with site.worker(chain):
        entries = await site.read(record)
        await site.settled(record)
    assert outcome(entries) == ("half ", "stopped", None)
    assert chain.asked == []
