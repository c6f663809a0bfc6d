"""Recent questions are found by their traces, in a bounded number of steps."""

import dataclasses

import pytest

from backend.protocol.record import Record
from backend.store import work_queue
from backend.store.connection import Storage
from backend.store.recent_questions import Recent, recent_questions
from tests.fakes.rig import STREAM, Rig, new_ask, whole_answer

MODULE = "backend.store.recent_questions"

pytestmark = pytest.mark.usefixtures("shared_redis")  # it has to start outside of an event loop


@pytest.fixture
def rig(storage: Storage) -> Rig:
    """The parts around this Redis; none of them runs."""
    return Rig(storage)


async def asked(rig: Rig, number: int) -> Record:
    """A question that is queued, later than those with smaller numbers."""
    record = Record.queued(new_ask(f"Question {number}?"), STREAM, "0-0", "token")
    record = dataclasses.replace(record, asked_at_ms=1_000 + number)
    return await rig.questions.create(record, work_queue.put(record.question_id, "token"))


async def answered(rig: Rig, number: int, pieces: int = 1) -> Record:
    """A question that has ended and left the queue."""
    record = await asked(rig, number)
    await rig.begun(record)
    entries = await rig.write(*whole_answer(record.question_id, *("word " * pieces).split()))
    (row,) = await rig.raw.xrevrange(work_queue.QUEUE_STREAM, count=1)
    await rig.raw.xdel(work_queue.QUEUE_STREAM, row[0])
    return await rig.closed(record, entries)


async def look(
    rig: Rig, limit: int = 10, status: str | None = None, stream: str | None = STREAM
) -> Recent:
    """What is found."""
    return await recent_questions(
        rig.storage,
        rig.questions,
        stream,
        limit,
        lambda record: status in (None, record.status),
    )


async def test_nothing_was_asked(rig: Rig) -> None:
    """In an empty Redis nothing is found, and nothing is missing."""
    assert await look(rig) == Recent([], complete=True)


async def test_the_newest_come_first(rig: Rig) -> None:
    """Queued and answered questions stand in one order, each once."""
    records = [await answered(rig, 0), await asked(rig, 1), await answered(rig, 2)]
    running = await rig.begun(await asked(rig, 3))
    await rig.write(*whole_answer(running.question_id, "half")[:-1])
    assert (await look(rig)).records == [running, *reversed(records)]


async def test_only_so_many(rig: Rig) -> None:
    """No more than the limit, the newest of all."""
    records = [await answered(rig, number) for number in range(4)]
    assert (await look(rig, limit=2)).records == [records[3], records[2]]


async def test_only_those_that_are_wanted(rig: Rig) -> None:
    """A state may be asked for; the limit counts those alone."""
    done = await answered(rig, 0)
    waiting = [await asked(rig, number) for number in range(1, 4)]
    assert (await look(rig, status="queued", limit=2)).records == [waiting[2], waiting[1]]
    assert (await look(rig, status="done", limit=1)).records == [done]
    assert (await look(rig, status="failed")).records == []


async def test_what_is_gone_is_passed_over(rig: Rig) -> None:
    """A trace without a record, or of another program, is no question."""
    record = await asked(rig, 0)
    await rig.raw.xadd(STREAM, {"other": "thing"})
    await rig.write(*whole_answer(new_ask().question_id, "orphan"))
    assert (await look(rig)).records == [record]


async def test_it_goes_back_page_by_page(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer may span many pages; the one before it is found all the same."""
    monkeypatch.setattr(f"{MODULE}.SEARCHED_PER_READ", 3)
    records = [await answered(rig, 0), await answered(rig, 1, pieces=20)]
    found = await look(rig)
    assert (found.records, found.complete) == ([records[1], records[0]], True)


async def test_it_looks_no_further_than_its_bound(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind so many entries it gives up, and says that there may be more."""
    monkeypatch.setattr(f"{MODULE}.SEARCHED_PER_READ", 3)
    monkeypatch.setattr(f"{MODULE}.MOST_ENTRIES", 12)
    await answered(rig, 0)
    newest = await answered(rig, 1, pieces=20)
    found = await look(rig)
    assert (found.records, found.complete) == ([newest], False)
    assert rig.commands.count("xrevrange") == 1 + 4  # one page of the queue


async def test_where_streams_are_many(rig: Rig) -> None:
    """With a stream for each user or question, answered questions are found by their keys."""
    records = [await answered(rig, number) for number in range(3)]
    await rig.raw.set("questions:of-somebody-else", "7")
    assert (await look(rig, limit=2, stream=None)).records == [records[2], records[1]]


async def test_keys_are_looked_at_no_further_than_their_bound(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a Redis with many other keys it gives up, and says so."""
    monkeypatch.setattr(f"{MODULE}.SEARCHED_PER_READ", 2)
    monkeypatch.setattr(f"{MODULE}.MOST_KEYS", 8)
    await rig.raw.mset({f"other:{number}": "x" for number in range(200)})
    found = await look(rig, stream=None)
    assert not found.complete
    assert rig.commands.count("scan") == 4
