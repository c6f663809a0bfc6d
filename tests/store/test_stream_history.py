"""Reading what was written before: page by page, from the archive and from the stream."""

from collections.abc import AsyncIterator

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from backend.protocol.entries import Entry
from backend.protocol.errors import Expired
from backend.protocol.record import Record
from backend.store import batching
from backend.store.connection import Storage
from backend.store.stream_history import Place
from tests.fakes.rig import DONE, STREAM, Rig, end, new_ask, open_answer, whole_answer

pytestmark = pytest.mark.usefixtures("shared_redis")  # it has to start outside of an event loop


@pytest.fixture
async def rig(storage: Storage) -> AsyncIterator[Rig]:
    """All parts; the tail and the writer run, though history needs neither."""
    async with Rig(storage).running() as rig:
        yield rig


def running(cursor: str = "0-0", attempt: int = 1) -> Record:
    """The record of a question in work."""
    record = Record.queued(new_ask(), STREAM, cursor, "token")
    for number in range(attempt):
        record = record.begun(f"owner {number}", None)
    return record


async def archived(rig: Rig, record: Record, *entries: Entry) -> None:
    """Put a page into the archive."""
    await batching.execute(rig.raw, rig.archive.page(record.question_id, list(entries)))


async def read_all(rig: Rig, record: Record, place: Place, until: str = "+") -> list[Entry]:
    """Read on until there is no more."""
    entries, more = await rig.history.advance(record, place, until)
    while more:
        further, more = await rig.history.advance(record, place, until)
        entries += further
    return entries


async def test_an_answer_is_read_in_order(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream longer than a page is read page by page, without gap or repetition."""
    monkeypatch.setattr("backend.store.stream_history.PAGE", 3)
    record = running()
    written = await rig.write(*whole_answer(record.question_id, *"abcdefgh"))
    place = Place(record.cursor, 0, from_archive=False)
    assert await read_all(rig, record, place) == written
    assert place.position == written[-1].id


@pytest.mark.parametrize("length", [1, 2, 3, 4, 6, 7])
async def test_a_last_page_ends_whatever_its_length(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    """Where the last page is just full, nothing is lost and nothing waits for ever."""
    monkeypatch.setattr("backend.store.stream_history.PAGE", 3)
    record = running()
    written = await rig.write(*open_answer(record.question_id, *("x" for _ in range(length - 1))))
    assert await read_all(rig, record, Place("0-0", 0, from_archive=False)) == written


async def test_other_questions_are_passed_over(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages full of other people's words give nothing but move the place on."""
    monkeypatch.setattr("backend.store.stream_history.PAGE", 2)
    record = running()
    await rig.write(*whole_answer("another", *"abcdef"))
    written = await rig.write(*whole_answer(record.question_id, "mine"))
    await rig.write(*whole_answer("a third", *"abcdef"))
    assert await read_all(rig, record, Place("0-0", 0, from_archive=False)) == written


async def test_reading_begins_behind_the_place_and_ends_at_the_limit(rig: Rig) -> None:
    """The place itself is not read again; the limit is, unless it is to be stopped before."""
    record = running()
    written = await rig.write(*open_answer(record.question_id, *"abcd"))
    middle, limit = written[1].id, written[3].id
    until_limit = await read_all(rig, record, Place(middle, 1, from_archive=False), limit)
    before_limit = await read_all(rig, record, Place(middle, 1, from_archive=False), f"({limit}")
    assert until_limit == written[2:4]
    assert before_limit == written[2:3]


async def test_reading_at_the_end_finds_nothing_and_stays(rig: Rig) -> None:
    """Where nothing follows, the place does not move."""
    record = running()
    written = await rig.write(*open_answer(record.question_id))
    place = Place(written[-1].id, 1, from_archive=False)
    assert await read_all(rig, record, place) == []
    assert place.position == written[-1].id


async def test_entries_of_other_programs_are_passed_over(rig: Rig) -> None:
    """What is no entry of ours is left out of the answer."""
    record = running()
    start, *_ = await rig.write(*open_answer(record.question_id))
    await rig.raw.xadd(STREAM, {"questionId": record.question_id, "chunkOutput": "odd"})
    await rig.raw.xadd(STREAM, {"something": "else"})
    last, *_ = await rig.write(end(record.question_id))
    assert await read_all(rig, record, Place("0-0", 0, from_archive=False)) == [start, last]


async def test_the_archive_is_read_first(rig: Rig) -> None:
    """What a page holds is not looked for in the stream again."""
    record = running()
    written = await rig.write(*open_answer(record.question_id, *"abcd"))
    await archived(rig, record, *written[:2])
    await archived(rig, record, *written[2:4])
    before = rig.commands.count("xrange")
    assert await read_all(rig, record, Place("0-0", record.attempt)) == written
    assert rig.commands.count("xrange") == before + 1


async def test_the_archive_alone_gives_the_answer_back(rig: Rig) -> None:
    """Entries come out of a page as they went into it, the END with all it says."""
    record = running()
    written = await rig.write(*whole_answer(record.question_id, "naïve 😀"))
    await archived(rig, record, *written)
    await rig.raw.delete(STREAM)
    assert await read_all(rig, record, Place("0-0", record.attempt)) == written


async def test_a_stale_page_does_not_hide_newer_entries(rig: Rig) -> None:
    """A page that a frozen worker adds late covers nothing of the attempt that is current."""
    record = running(attempt=2)
    first = await rig.write(*open_answer(record.question_id, "a"))
    second = await rig.write(*open_answer(record.question_id, "b", attempt=2))
    stale = await rig.write(Entry(record.question_id, "stale", 1, 2))
    await archived(rig, record, *first)
    await archived(rig, record, *stale)
    read = await read_all(rig, record, Place("0-0", record.attempt))
    assert [entry for entry in read if entry.attempt == 2] == second


async def test_an_entry_is_found_by_its_id(rig: Rig) -> None:
    """The entry with an id, and no other one, whosever it is."""
    written = await rig.write(*whole_answer("q", "text"))
    assert await rig.history.entry(STREAM, written[1].id) == written[1]


async def test_an_id_without_entry_finds_nothing(rig: Rig) -> None:
    """Ids that nobody has, that are gone, or that are not ours, find nothing."""
    written = await rig.write(*open_answer("q", "text"))
    await rig.raw.xdel(STREAM, written[0].id)
    foreign = await rig.raw.xadd(STREAM, {"something": "else"})
    for entry_id in ("1-1", written[0].id, foreign):
        assert await rig.history.entry(STREAM, entry_id) is None


async def test_a_transcript_is_the_fold_of_what_stands_before(rig: Rig) -> None:
    """The answer so far, without the entry it is read up to."""
    record = running()
    written = await rig.write(*open_answer(record.question_id, *"abc"))
    transcript = await rig.history.transcript(record, written[-1].id)
    assert (transcript.text, transcript.ending) == ("ab", None)
    assert (transcript.start_id, transcript.last_id) == (written[0].id, written[2].id)


async def test_a_transcript_knows_how_the_answer_ended(rig: Rig) -> None:
    """An END that stands before is part of the transcript."""
    record = running()
    written = await rig.write(*whole_answer(record.question_id, "text"))
    next_start, *_ = await rig.write(*open_answer(record.question_id, attempt=2))
    transcript = await rig.history.transcript(record.begun("next", None), next_start.id)
    assert transcript.ending == DONE
    assert transcript.last_id == written[-1].id


async def test_a_stale_end_is_not_the_last_word(rig: Rig) -> None:
    """An old attempt's END that was written after our START counts for nothing, archived or not."""
    record = running()
    first = await rig.write(*open_answer(record.question_id, "text"))
    next_start, *_ = await rig.write(*open_answer(record.question_id, attempt=2))
    stale_end, *_ = await rig.write(end(record.question_id, "text"))
    await archived(rig, record, *first, stale_end)
    transcript = await rig.history.transcript(record.begun("next", None), next_start.id)
    assert (transcript.text, transcript.ending) == ("text", None)


async def test_an_attempt_that_said_nothing_hides_no_earlier_words(rig: Rig) -> None:
    """What a dead worker had not archived counts, though a silent later attempt is archived."""
    record = running()
    await rig.write(*open_answer(record.question_id, "text"))
    silent = await rig.write(*open_answer(record.question_id, attempt=2))
    next_start, *_ = await rig.write(*open_answer(record.question_id, attempt=3))
    await archived(rig, record, *silent)
    record = record.begun("second", None).begun("third", None)
    transcript = await rig.history.transcript(record, next_start.id)
    assert (transcript.last_words, transcript.ending) == ("text", None)


async def test_a_hole_is_never_read_over(rig: Rig) -> None:
    """Where an entry is gone, there is no transcript: the answer is expired."""
    record = running()
    written = await rig.write(*open_answer(record.question_id, *"abc"))
    await rig.raw.xdel(STREAM, written[1].id)
    with pytest.raises(Expired):
        await rig.history.transcript(record, written[3].id)


async def test_errors_of_redis_are_left_to_the_caller(rig: Rig) -> None:
    """Whether to wait or to give up is for the caller to say."""
    rig.commands.refuse("xrange")
    with pytest.raises(RedisConnectionError):
        await rig.history.entry(STREAM, "1-1")
