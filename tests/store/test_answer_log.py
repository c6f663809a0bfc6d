"""Where answers stand: appended to a stream and to a log of their own, and read from the log."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from backend.protocol.entries import Ending, Entry, Usage, entry_order
from backend.protocol.errors import Expired, ModelTimeout
from backend.protocol.record import Record
from backend.store import answer_log
from backend.store.answer_log import Addition, append_entries, log_key
from backend.store.connection import Storage
from tests.fakes.rig import DONE, STREAM, Rig, end, new_ask, open_answer, whole_answer

pytestmark = pytest.mark.usefixtures("shared_redis")  # it has to start outside of an event loop

KEEP_S, RETENTION_S = 90, 60
ODD_TEXTS = [
    "0",
    "-1e400",
    "null",
    "naïve 漢字 \U0001f98a e\u0301",
    "".join(map(chr, range(0x20))),
    '"{[\\',
    "\x7f\u2028\uffff\U0010ffff",
    "<br/>;END:q",
    "x" * 9_000,
]


@pytest.fixture
async def rig(storage: Storage) -> AsyncIterator[Rig]:
    """All parts; the tail and the writer run, though the log needs neither."""
    async with Rig(storage).running() as rig:
        yield rig


def running(attempt: int = 1) -> Record:
    """The record of a question in work."""
    record = Record.queued(new_ask(), STREAM, "0-0", "token")
    for number in range(attempt):
        record = record.begun(f"owner {number}", None)
    return record


async def append(storage: Storage, *entries: Entry, stream: str = STREAM) -> list[str | None]:
    """Append entries to one stream, in one step."""
    additions = [Addition(stream, entry) for entry in entries]
    return await append_entries(storage.writing, additions, keep_s=KEEP_S, retention_s=RETENTION_S)


async def stored(storage: Storage, key: str) -> list[tuple[str, dict[str, str]]]:
    """What stands in a stream."""
    return [(entry_id, fields) for entry_id, fields in await storage.commands.xrange(key)]


async def read_all(rig: Rig, record: Record, after: str = "0-0", until: str = "+") -> list[Entry]:
    """Read on until there is no more."""
    entries, position, more = await rig.log.read(record, after, until)
    while more:
        further, position, more = await rig.log.read(record, position, until)
        entries += further
    return entries


# Appending


async def test_every_character_arrives(storage: Storage) -> None:
    """What is written is what is read, whatever it looks like, as text and as thought."""
    texts = [Entry("q", text, 1, number) for number, text in enumerate(ODD_TEXTS)]
    thoughts = [Entry("q", "", 1, 99, reasoning=text) for text in ODD_TEXTS]
    await append(storage, *texts, *thoughts)
    for key in (STREAM, "answers:q"):
        assert [fields for _, fields in await stored(storage, key)] == [
            entry.fields() for entry in texts + thoughts
        ]


async def test_both_hold_the_same_under_the_same_ids(storage: Storage) -> None:
    """The log of an answer is exactly its part of the stream."""
    mine, theirs = whole_answer("mine", *"abc"), whole_answer("theirs", *"de")
    mixed = [
        mine[0],
        theirs[0],
        mine[1],
        mine[2],
        theirs[1],
        theirs[2],
        mine[3],
        theirs[3],
        mine[4],
    ]
    ids = await append(storage, *mixed)
    assert ids == sorted(ids, key=lambda each: entry_order(str(each)))
    shared = await stored(storage, STREAM)
    assert [entry_id for entry_id, _ in shared] == ids
    for question_id in ("mine", "theirs"):
        part = [row for row in shared if row[1]["questionId"] == question_id]
        assert await stored(storage, f"answers:{question_id}") == part


async def test_a_stream_of_one_question_is_its_own_log(storage: Storage) -> None:
    """Nothing is written twice where nobody else writes."""
    stream = f"{STREAM}:q"
    ids = await append(storage, *whole_answer("q", "text"), stream=stream)
    assert [entry_id for entry_id, _ in await stored(storage, stream)] == ids
    assert log_key(stream, "q") == stream
    assert not await storage.commands.exists("answers:q")


async def test_each_entry_goes_to_its_stream(storage: Storage) -> None:
    """One step serves many streams."""
    entries = [Entry("a", "1", 1, 1), Entry("b", "2", 1, 1), Entry("a", "3", 1, 2)]
    additions = [Addition(f"s:{entry.question_id}", entry) for entry in entries]
    ids = await append_entries(storage.writing, additions, keep_s=KEEP_S, retention_s=RETENTION_S)
    assert [entry_id for entry_id, _ in await stored(storage, "s:a")] == [ids[0], ids[2]]
    assert [entry_id for entry_id, _ in await stored(storage, "s:b")] == [ids[1]]


async def test_a_stream_that_is_taken_costs_its_own_entries_alone(storage: Storage) -> None:
    """Where another program's value stands under a stream's name, other streams get theirs."""
    await storage.commands.set("taken", "no stream")
    additions = [
        Addition(stream, Entry(question, "x", 1, number))
        for stream, question, number in [
            ("s", "a", 0),
            ("taken", "b", 0),
            ("taken", "b", 1),
            ("s", "a", 1),
        ]
    ]
    first, refused, again, last = await append_entries(
        storage.writing, additions, keep_s=KEEP_S, retention_s=RETENTION_S
    )
    assert refused is again is None
    assert [entry_id for entry_id, _ in await stored(storage, "s")] == [first, last]
    assert not await storage.commands.exists("answers:b")


@pytest.mark.parametrize("kind", ["text", "later ids"])
async def test_a_log_that_is_taken_costs_its_own_answer_alone(storage: Storage, kind: str) -> None:
    """Where a log cannot be appended to, other answers in the same stream get theirs."""
    if kind == "text":
        await storage.commands.set("answers:b", "no stream")
    else:
        await storage.commands.xadd("answers:b", {"a": "b"}, id=f"{2**63}-0")
    entries = [
        Entry("a", "1", 1, 0), Entry("b", "2", 1, 0), Entry("b", "3", 1, 1), Entry("a", "4", 1, 1),
    ]  # fmt: skip
    first, refused, again, last = await append(storage, *entries)
    assert refused is again is None
    assert [entry_id for entry_id, _ in await stored(storage, "answers:a")] == [first, last]


async def test_what_was_sent_twice_stands_twice(storage: Storage) -> None:
    """A batch is sent again after a lost reply; the fold ignores what it has seen."""
    entries = whole_answer("q", "text")
    first, second = await append(storage, *entries), await append(storage, *entries)
    assert [entry_id for entry_id, _ in await stored(storage, "answers:q")] == first + second


async def test_an_answer_is_kept_as_long_as_the_retention(storage: Storage) -> None:
    """A log lasts longer than an answer may take, and from its END on as long as it is kept."""
    ttl = storage.commands.ttl
    await append(storage, *open_answer("q", "text"))
    assert RETENTION_S < await ttl("answers:q") <= KEEP_S
    assert RETENTION_S < await ttl(STREAM) <= KEEP_S
    await append(storage, end("q", "text"))
    assert 0 < await ttl("answers:q") <= RETENTION_S
    assert 0 < await ttl(STREAM) <= RETENTION_S


async def test_a_stream_lasts_for_whoever_still_writes_to_it(storage: Storage) -> None:
    """An END shortens no life that another answer needs, in the same step or in a later one."""
    ttl = storage.commands.ttl
    await append(storage, *open_answer("q", "text"), *open_answer("other"))
    await append(storage, Entry("other", "x", 1, 1), end("q", "text"))
    assert RETENTION_S < await ttl(STREAM) <= KEEP_S
    await append(storage, end("third"))
    assert 0 < await ttl(STREAM) <= RETENTION_S
    await append(storage, Entry("other", "y", 1, 2))
    assert RETENTION_S < await ttl(STREAM) <= KEEP_S


async def test_a_stream_is_trimmed_by_who_writes_to_it(storage: Storage) -> None:
    """With a START and an END goes what is too old; with what stands between, nothing."""
    await storage.commands.xadd(STREAM, {"old": "entry"}, id="5-1")
    for entry, count in ((Entry("q", "x", 1, 1), 2), (end("q", "x"), 2)):
        await append_entries(
            storage.writing, [Addition(STREAM, entry, 6)], keep_s=KEEP_S, retention_s=RETENTION_S
        )
        assert await storage.commands.xlen(STREAM) == count


async def test_bounds_need_not_succeed(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that only bounds what is kept, and fails, costs no entry."""
    monkeypatch.setattr(
        Addition, "bounds", lambda *_: [("XTRIM", STREAM, "NONSENSE", "1"), ("NO SUCH",)]
    )
    [entry_id] = await append(storage, Entry.start("q", 1))
    assert [each for each, _ in await stored(storage, "answers:q")] == [entry_id]


async def test_errors_of_redis_are_raised(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is no question of a key being taken is for the caller: it may pass."""
    item = property(lambda self: (self.stream, "", []))
    monkeypatch.setattr(Addition, "item", item)
    with pytest.raises(ResponseError):
        await append(storage, Entry.start("q", 1))


# Reading


@pytest.mark.parametrize(
    "ending",
    [
        DONE,
        Ending("stopped"),
        Ending("done", None, "length", Usage(1, 2, 3), "gpt-6-luna"),
        Ending.failed(ModelTimeout()),
    ],
    ids=lambda ending: f"{ending.status} {ending.finish_reason}",
)
async def test_entries_come_back_as_they_were(rig: Rig, ending: Ending) -> None:
    """The END with all it says, thought as thought, and each with its id."""
    record = running()
    entries = open_answer(record.question_id, *ODD_TEXTS)
    entries.append(Entry(record.question_id, "", 1, len(entries), reasoning="hm"))
    entries.append(Entry.end(record.question_id, 1, len(entries), ending))
    written = await rig.write(*entries)
    assert await read_all(rig, record) == written


async def test_an_answer_is_read_in_order(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long answer is read part by part, without gap or repetition."""
    monkeypatch.setattr(answer_log, "ENTRIES_PER_READ", 3)
    record = running()
    written = await rig.write(*whole_answer(record.question_id, *"abcdefgh"))
    assert await read_all(rig, record) == written


@pytest.mark.parametrize("length", [1, 2, 3, 4, 6, 7])
async def test_a_last_part_ends_whatever_its_length(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    """Where the last part is just full, nothing is lost and nothing waits for ever."""
    monkeypatch.setattr(answer_log, "ENTRIES_PER_READ", 3)
    record = running()
    written = await rig.write(*open_answer(record.question_id, *("x" for _ in range(length - 1))))
    assert await read_all(rig, record) == written


async def test_other_questions_cost_nothing(rig: Rig) -> None:
    """However much others wrote meanwhile, an answer is one read."""
    record = running()
    await rig.write(*whole_answer("another", *"abcdef"))
    written = await rig.write(*whole_answer(record.question_id, "mine"))
    await rig.write(*whole_answer("a third", *"abcdef"))
    before = rig.commands.count("xrange")
    assert await read_all(rig, record) == written
    assert rig.commands.count("xrange") == before + 1


async def test_reading_begins_behind_an_id_and_ends_at_another(rig: Rig) -> None:
    """The first is not read again; the last is, unless reading is to stop before it."""
    record = running()
    written = await rig.write(*open_answer(record.question_id, *"abcd"))
    after, until = written[1].id, written[3].id
    assert await read_all(rig, record, after, until) == written[2:4]
    assert await read_all(rig, record, after, f"({until}") == written[2:3]


async def test_reading_at_the_end_finds_nothing_and_stays(rig: Rig) -> None:
    """Where nothing follows, the position does not move."""
    record = running()
    written = await rig.write(*open_answer(record.question_id))
    assert await rig.log.read(record, written[-1].id) == ([], written[-1].id, False)


@pytest.mark.parametrize(
    "fields",
    [
        {"something": "else"},
        {"questionId": "q", "chunkOutput": "odd"},
        {"questionId": "another", "chunkOutput": "x", "attempt": "1", "number": "1"},
    ],
    ids=str,
)
async def test_entries_of_other_programs_are_left_out(rig: Rig, fields: dict[str, Any]) -> None:
    """What is no entry of this answer is passed over."""
    record = running()
    await rig.raw.xadd(log_key(STREAM, record.question_id), fields, id="1-1")
    written = await rig.write(*whole_answer(record.question_id, "text"))
    assert await read_all(rig, record) == written


async def test_an_entry_is_found_by_its_id(rig: Rig) -> None:
    """The entry with an id, if it is one of this answer."""
    record = running()
    written = await rig.write(*whole_answer(record.question_id, "text"))
    theirs, *_ = await rig.write(*whole_answer("another", "text"))
    assert await rig.log.entry(record, written[1].id) == written[1]
    await rig.erase(written[0])
    for entry_id in ("1-1", written[0].id, theirs.id):
        assert await rig.log.entry(record, entry_id) is None


async def test_a_transcript_is_the_fold_of_what_stands_before(rig: Rig) -> None:
    """The answer so far, without the entry it is read up to."""
    record = running()
    written = await rig.write(*open_answer(record.question_id, *"abc"))
    transcript = await rig.log.transcript(record, f"({written[-1].id}")
    assert (transcript.text, transcript.ending) == ("ab", None)
    assert (transcript.start_id, transcript.last_id) == (written[0].id, written[2].id)
    assert (await rig.log.transcript(record)).text == "abc"


async def test_a_transcript_knows_how_the_answer_ended(rig: Rig) -> None:
    """An END that stands before is part of the transcript."""
    record = running()
    written = await rig.write(*whole_answer(record.question_id, "text"))
    next_start, *_ = await rig.write(*open_answer(record.question_id, attempt=2))
    transcript = await rig.log.transcript(record.begun("next", None), f"({next_start.id}")
    assert transcript.ending == DONE
    assert transcript.last_id == written[-1].id


async def test_a_stale_end_is_not_the_last_word(rig: Rig) -> None:
    """An old attempt's END that was written after our START counts for nothing."""
    record = running()
    await rig.write(*open_answer(record.question_id, "text"))
    next_start, *_ = await rig.write(*open_answer(record.question_id, attempt=2))
    await rig.write(end(record.question_id, "text"))
    transcript = await rig.log.transcript(record.begun("next", None), f"({next_start.id}")
    assert (transcript.text, transcript.ending) == ("text", None)


async def test_an_attempt_that_said_nothing_hides_no_earlier_text(rig: Rig) -> None:
    """What a dead worker wrote counts, though a later attempt was silent."""
    record = running()
    await rig.write(*open_answer(record.question_id, "text"))
    await rig.write(*open_answer(record.question_id, attempt=2))
    next_start, *_ = await rig.write(*open_answer(record.question_id, attempt=3))
    transcript = await rig.log.transcript(record, f"({next_start.id}")
    assert (transcript.last_words, transcript.ending) == ("text", None)


async def test_a_hole_is_never_read_over(rig: Rig) -> None:
    """Where an entry is gone, there is no transcript: the answer is expired."""
    record = running()
    written = await rig.write(*open_answer(record.question_id, *"abc"))
    await rig.erase(written[1])
    with pytest.raises(Expired):
        await rig.log.transcript(record)


async def test_what_is_no_log_is_expired(rig: Rig) -> None:
    """Where another program has taken the key, waiting would not help."""
    record = running()
    await rig.raw.set(log_key(STREAM, record.question_id), "text")
    with pytest.raises(Expired):
        await rig.log.read(record, "0-0")
    with pytest.raises(Expired):
        await rig.log.entry(record, "1-1")


async def test_errors_of_redis_are_left_to_the_caller(rig: Rig) -> None:
    """Whether to wait or to give up is for the caller to say."""
    rig.commands.refuse("xrange")
    with pytest.raises(RedisConnectionError):
        await rig.log.entry(running(), "1-1")
