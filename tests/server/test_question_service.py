"""What a server does with questions: asked once, read from anywhere, stopped in time."""

import asyncio
import dataclasses
import itertools
import random
import time
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.protocol.entries import Ending, Entry, entry_order
from backend.protocol.errors import Expired, IdTaken, StorageUnavailable
from backend.protocol.record import Record
from backend.protocol.requests import new_question_id
from backend.runtime.background_tasks import cancel
from backend.server import ask_limits, question_service
from backend.store import work_queue
from backend.store.answer_log import log_key
from backend.store.connection import Storage, connect
from backend.store.embedded_redis import embedded_redis
from backend.store.records import question_key
from backend.store.stream_tail import FEED_ENTRIES
from tests.fakes.programs import RedisServer
from tests.fakes.rig import (
    DONE,
    PATIENCE_S,
    STOPPED,
    STREAM,
    Rig,
    end,
    in_background,
    is_quiet,
    new_ask,
    open_answer,
    whole_answer,
    words,
)
from tests.fakes.scrape import counted

pytestmark = pytest.mark.usefixtures("shared_redis")  # it has to start outside of an event loop


@pytest.fixture
async def rig(storage: Storage) -> AsyncIterator[Rig]:
    """All parts at work on an empty Redis."""
    async with Rig(storage).running() as rig:
        yield rig


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Followers that look at the record after a moment without news."""
    monkeypatch.setattr("backend.server.question_service.IDLE_CHECK_S", 0.05)
    monkeypatch.setattr("backend.store.stream_tail.BLOCK_MS", 20)


async def live(rig: Rig, record: Record, after: str | None = None) -> asyncio.Task[list[Entry]]:
    """A reader that has caught up with what there is, and waits for more."""
    times = rig.tail.subscriptions
    task = asyncio.create_task(rig.read(record, after))
    await rig.tail.followed(times + 1)
    return task


class Worker:
    """A worker that says one piece, and then waits until it is told to stop."""

    def __init__(self, rig: Rig, record: Record) -> None:
        self._rig = rig
        self._record = record
        self.hears = False

    async def run(self) -> None:
        """Answer as far as the stop."""
        attempt = await self._rig.attempts.open(self._record.question_id)
        assert attempt
        await attempt.draft.append("half an ans")
        async for question_id in self._rig.stops.listen():
            self.hears = True
            if question_id == self._record.question_id:
                await self._rig.attempts.close(attempt, STOPPED)


class Script:
    """An answer that is written bit by bit, at moments that chance decides."""

    def __init__(self, rig: Rig, record: Record, pieces: int, chance: random.Random) -> None:
        self.written: list[Entry] = []
        self._rig = rig
        self._record = record
        self._rest = whole_answer(record.question_id, *("x" for _ in range(pieces)))
        self._chance = chance
        self._one_at_a_time = asyncio.Lock()

    def some_id(self) -> str | None:
        """The id of something that was written, if there is anything."""
        return self._chance.choice(self.written).id if self.written else None

    async def write_some(self, name: str = "") -> None:
        """Write nothing, or some of it, and perhaps let the tail see it."""
        for _ in range(self._chance.choice([0, 0, 1, 2, 5])):
            await self._write_one()
        if self._chance.random() < 0.5:
            await self._rig.tail_caught_up()

    async def write_rest(self) -> None:
        """Write all that is left."""
        while self._rest:
            await self._write_one()

    async def _write_one(self) -> None:
        async with self._one_at_a_time:
            if not self._rest:
                return
            if self._chance.random() < 0.5:
                await self._rig.write(Entry("another", "not yours", 1, 1))
            self.written += await self._rig.write(self._rest.pop(0))


# Asking


async def test_a_question_is_queued(rig: Rig) -> None:
    """On return, record and queue entry stand in Redis and belong together."""
    ask = new_ask()
    record = await rig.answers.ask(ask)
    assert (record.status, record.topic, record.question) == ("queued", ask.topic, ask.question)
    assert await rig.answers.find(ask.question_id) == record
    ((_, fields),) = await rig.raw.xrange(work_queue.QUEUE_STREAM)
    assert fields == {"questionId": ask.question_id, "delivery": record.job_token}


async def test_asking_again_finds_the_first_question(rig: Rig) -> None:
    """A client that is not sure asks again with its id, and gets the same answer."""
    ask = new_ask()
    assert await rig.answers.ask(ask) == await rig.answers.ask(ask)


async def test_an_id_stands_for_one_question(rig: Rig) -> None:
    """The same id with other words is refused, and the first question stays as it is."""
    ask = new_ask()
    record = await rig.answers.ask(ask)
    for other in (
        dataclasses.replace(ask, question="Something else?"),
        dataclasses.replace(ask, topic="Something else"),
    ):
        with pytest.raises(IdTaken):
            await rig.answers.ask(other)
    assert await rig.answers.find(ask.question_id) == record


async def test_nothing_is_asked_before_the_tail_has_started(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a position to read the answer from, the question is refused and not stored."""
    monkeypatch.setattr("backend.server.question_service.REQUEST_TIMEOUT_S", 0.05)
    rig = Rig(storage)
    ask = new_ask()
    with pytest.raises(StorageUnavailable):
        await rig.answers.ask(ask)
    assert await rig.raw.keys() == []


def test_whoever_asks_or_stops_is_told_within_two_seconds() -> None:
    """Whatever else takes time, these bounds leave some of it."""
    bounds = question_service.REQUEST_TIMEOUT_S, question_service.STOP_TIMEOUT_S
    assert max(*bounds, ask_limits.TIMEOUT_S) < 2


async def test_an_unknown_question_is_expired(rig: Rig) -> None:
    """There is nothing to find under an id that nobody has asked with."""
    with pytest.raises(Expired):
        await rig.answers.find(new_question_id())


@pytest.mark.parametrize("away", ["refused", "silent"])
async def test_requests_are_answered_while_redis_is_away(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, away: str
) -> None:
    """To ask, find or stop says storage_unavailable in time, whether Redis fails or hangs."""
    record = await rig.ask()
    monkeypatch.setattr("backend.server.question_service.REQUEST_TIMEOUT_S", 0.1)
    for name in ("execute", "get"):
        if away == "silent":
            rig.commands.hold(name)
        else:
            rig.commands.refuse(name, float("inf"))
    async with asyncio.timeout(1):
        with pytest.raises(StorageUnavailable):
            await rig.answers.ask(new_ask())
        with pytest.raises(StorageUnavailable):
            await rig.answers.find(record.question_id)
        with pytest.raises(StorageUnavailable):
            await rig.answers.stop(record.question_id)


# Following


async def test_an_ended_answer_is_read_whole(rig: Rig) -> None:
    """Whoever comes after the end gets everything from START to END, and then it is over."""
    record, entries = await rig.answered("one ", "two")
    assert await rig.read(record) == entries


async def test_a_running_answer_is_read_as_it_is_written(rig: Rig) -> None:
    """A reader has each entry as soon as it is written, and ends behind the END."""
    record = await rig.ask()
    expected = whole_answer(record.question_id, "one", "two")
    async with asyncio.timeout(PATIENCE_S), aclosing(rig.answers.follow(record)) as entries:
        for entry in expected:
            written = await rig.write(entry)
            assert [await anext(entries)] == written
        assert [entry async for entry in entries] == []


async def test_every_place_to_resume_from_gives_the_rest(rig: Rig) -> None:
    """Behind START, a piece, another question's entry, an id of nobody, or END: what follows."""
    record, other = await rig.begun(await rig.ask()), await rig.ask()
    pairs = zip(
        whole_answer(record.question_id, *"abcd"),
        whole_answer(other.question_id, *"1234"),
        strict=True,
    )
    written = await rig.write(*itertools.chain(*pairs))
    entries = written[0::2]
    ended = await rig.closed(record, entries)
    between = [f"{entry_order(entry.id)[0]}-999999" for entry in written]
    for after in ["0-0", "999999999999999-0", *(entry.id for entry in written), *between]:
        rest = [entry for entry in entries if entry_order(entry.id) > entry_order(after)]
        assert await rig.read(ended, after) == rest


async def test_resuming_behind_a_stale_entry_gives_the_rest(rig: Rig) -> None:
    """An entry of an old attempt is a place like any other, even an END that counts for nothing."""
    record = await rig.begun(await rig.ask())
    await rig.write(*open_answer(record.question_id, "stale"))
    record = await rig.begun(record, "other worker")
    fresh = await rig.write(*open_answer(record.question_id, "fresh", attempt=2))
    stale = await rig.write(
        Entry(record.question_id, "staler", 1, 2), end(record.question_id, "stale", "staler")
    )
    fresh += await rig.write(end(record.question_id, "fresh", attempt=2))
    ended = await rig.closed(record, fresh, "other worker")
    for entry in stale:
        assert await rig.read(ended, entry.id) == fresh[-1:]


async def test_any_number_of_readers_get_the_same(rig: Rig) -> None:
    """Readers that start at every moment of an answer, behind every entry so far, all agree."""
    record, other = await rig.ask(), await rig.ask()
    expected: list[Entry] = []
    readers: list[tuple[str | None, asyncio.Task[list[Entry]]]] = []

    def start_readers() -> None:
        readers.extend(
            (after, asyncio.create_task(rig.read(record, after)))
            for after in [None, *(entry.id for entry in expected)]
        )

    for number, entry in enumerate(whole_answer(record.question_id, *"abcdef")):
        start_readers()
        await rig.write(Entry(other.question_id, "not yours", 1, number))
        start_readers()
        expected += await rig.write(entry)
    start_readers()
    for after, reader in readers:
        bound = entry_order(after or "0-0")
        assert await reader == [e for e in expected if entry_order(e.id) > bound]


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    pieces=st.integers(0, 12),
    page=st.integers(1, 4),
    feed_entries=st.integers(1, 4),
    resume=st.booleans(),
)
async def test_no_seam_shows(
    seed: int, pieces: int, page: int, feed_entries: int, resume: bool
) -> None:
    """Whatever is written around each single step of a reader, it has every entry once, in order.

    Around every call that the reader makes, and between any two entries that
    it takes, some of the answer is written, among another question's entries;
    the tail may have seen that or not.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("backend.store.answer_log.ENTRIES_PER_READ", page)
        patch.setattr("backend.store.stream_tail.FEED_ENTRIES", feed_entries)
        async with embedded_redis() as storage, Rig(storage).running() as rig:
            record = await rig.begun(await rig.ask())
            script = Script(rig, record, pieces, random.Random(seed))  # noqa: S311  no secret
            await script.write_some()
            after = script.some_id() if resume else None
            rig.commands.before = rig.commands.after = script.write_some
            read: list[Entry] = []

            async def follow() -> None:
                async for entry in rig.answers.follow(record, after):
                    read.append(entry)
                    await script.write_some()

            reader, live = asyncio.create_task(follow()), asyncio.create_task(rig.tail.followed())
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.wait({reader, live}, return_when=asyncio.FIRST_COMPLETED)
                await script.write_rest()
                await reader
            await cancel([live])
            bound = entry_order(after or "0-0")
            assert read == [entry for entry in script.written if entry_order(entry.id) > bound]


async def test_a_slow_reader_goes_on_from_redis(rig: Rig) -> None:
    """A reader that is overrun gets every entry nevertheless, in order, at its own pace."""
    record = await rig.ask()
    expected = await rig.write(*open_answer(record.question_id))
    async with asyncio.timeout(3 * PATIENCE_S), aclosing(rig.answers.follow(record)) as entries:
        read = [await anext(entries)]
        pieces = open_answer(record.question_id, *("x" for _ in range(3 * FEED_ENTRIES)))[1:]
        expected += await rig.write(pieces[0])
        read.append(await anext(entries))  # it is live now, and stops to read
        expected += await rig.write(
            *pieces[1:], end(record.question_id, *(piece.text for piece in pieces))
        )
        await rig.tail_caught_up()
        read += [entry async for entry in entries]
    assert read == expected
    assert counted(rig.metrics, "slow_reader_overruns_total") == 1


async def test_a_reader_that_leaves_is_forgotten(rig: Rig) -> None:
    """Closing a reader ends its subscription."""
    record = await rig.ask()
    reader = await live(rig, record)
    assert rig.tail._streams[STREAM].feeds
    await cancel([reader])
    assert rig.tail._streams[STREAM].feeds == {}


async def test_a_takeover_shows_the_new_attempt(rig: Rig) -> None:
    """A reader sees the new START and what follows it, and nothing more of the old attempt."""
    record = await rig.ask()
    reader = await live(rig, record)
    first = await rig.write(*open_answer(record.question_id, "half"))
    second = await rig.write(*open_answer(record.question_id, "who", attempt=2))
    await rig.write(
        Entry(record.question_id, "stale", 1, 2), end(record.question_id, "half", "stale")
    )
    second += await rig.write(
        Entry(record.question_id, "le", 2, 2), end(record.question_id, "who", "le", attempt=2)
    )
    assert await reader == first + second
    assert await rig.read(record) == first + second


async def test_a_stale_end_closes_no_answer(rig: Rig) -> None:
    """A frozen worker that ends its attempt after a takeover ends it for no reader."""
    record = await rig.begun(await rig.ask())
    await rig.write(*open_answer(record.question_id, "stale"))
    record = await rig.begun(record, "other worker")
    fresh = await rig.write(*open_answer(record.question_id, "fresh", attempt=2))
    await rig.write(end(record.question_id, "stale"))
    fresh += await rig.write(end(record.question_id, "fresh", attempt=2))
    ended = await rig.closed(record, fresh, "other worker")
    entries = await rig.read(ended)
    assert (words(entries), entries[-1]) == ("fresh", fresh[-1])


async def test_an_end_that_was_not_recorded_is_found_for_ever(rig: Rig) -> None:
    """An END stays the last word, though another attempt had begun before it was noticed."""
    record = await rig.ask()
    attempt = await rig.attempts.open(record.question_id)
    assert attempt
    await attempt.draft.append("all said")
    await attempt.draft.end(DONE)  # its worker dies before it has told the record
    assert await rig.attempts.open(record.question_id) is None  # its START stands behind
    entries = await rig.read(await rig.answers.find(record.question_id))
    assert (words(entries), entries[-1].ending) == ("all said", DONE)


async def test_doubled_entries_are_shown_once(rig: Rig) -> None:
    """A write that was repeated changes nothing for a live reader, nor for a late one."""
    record = await rig.ask()
    reader = await live(rig, record)
    answer = whole_answer(record.question_id, "one", "two")
    first = await rig.write(*answer[:2])
    await rig.write(*answer[:2])
    last = await rig.write(*answer[2:])
    await rig.write(*answer)
    assert await reader == await rig.read(record) == first + last


async def test_reading_waits_out_an_outage(rig: Rig) -> None:
    """A reader whose reads fail has the whole answer once Redis is back."""
    record, entries = await rig.answered("one", "two")
    rig.commands.refuse("xrange", 2)
    assert await rig.read(record) == entries


async def test_a_live_reader_survives_a_restart_of_redis(own_redis: RedisServer) -> None:
    """A reader that is live when Redis goes away has everything that is written after it."""
    async with connect(own_redis.url) as storage, Rig(storage).running() as rig:
        record = await rig.ask()
        answer = rig.writer.open(STREAM, record.question_id, 1)
        await answer.append("before ")
        await answer.start()
        reader = await live(rig, record)
        own_redis.kill()
        await answer.append("while ")
        await asyncio.to_thread(own_redis.start)
        await answer.append("after")
        async with asyncio.timeout(PATIENCE_S):
            await answer.end(DONE)
            assert words(await reader) == "before while after"


# What is gone


@pytest.mark.parametrize("kept", [0, 1, 2, 3])
async def test_a_trimmed_answer_is_expired_at_once(rig: Rig, kept: int) -> None:
    """An ended answer that is partly or wholly gone is never shown with a hole."""
    record, _ = await rig.answered("one", "two")
    await rig.raw.xtrim(log_key(STREAM, record.question_id), maxlen=kept, approximate=False)
    async with asyncio.timeout(1):
        with pytest.raises(Expired):
            await rig.read(record)


async def test_a_trimmed_stream_takes_no_answer_away(rig: Rig) -> None:
    """What others read live may be gone: an answer is read from its own log."""
    record, entries = await rig.answered("one", "two")
    await rig.raw.delete(STREAM)
    assert await rig.read(record) == entries
    assert await rig.read(record, entries[1].id) == entries[2:]


async def test_a_trimmed_running_answer_is_expired_at_once(rig: Rig) -> None:
    """An answer whose start is gone while it is being written cannot be shown any more."""
    record = await rig.begun(await rig.ask())
    await rig.write(*open_answer(record.question_id, "one", "two"))
    await rig.raw.xtrim(log_key(STREAM, record.question_id), maxlen=1, approximate=False)
    async with asyncio.timeout(1):
        with pytest.raises(Expired):
            await rig.read(record)


async def test_resuming_behind_what_is_left_works(rig: Rig) -> None:
    """Where only what the reader has already seen is gone, it goes on."""
    record, entries = await rig.answered("one", "two")
    await rig.erase(entries[0])
    assert await rig.read(record, entries[1].id) == entries[2:]


async def test_a_hole_in_the_middle_is_expired(rig: Rig) -> None:
    """What stands before a hole is shown, what stands behind it never is."""
    record, entries = await rig.answered("one", "two", "three")
    await rig.erase(entries[2])
    read: list[Entry] = []

    async def follow() -> None:
        async for entry in rig.answers.follow(record):
            read.append(entry)  # noqa: PERF401  what came before the error is to be kept

    with pytest.raises(Expired):
        await follow()
    assert read == entries[:2]


@pytest.mark.usefixtures("impatient")
async def test_an_emptied_redis_is_noticed_by_live_readers(rig: Rig) -> None:
    """A reader that waits for an answer whose question has vanished is told so soon."""
    record = await rig.ask()
    await rig.write(*open_answer(record.question_id, "one"))
    reader = await live(rig, record)
    await rig.raw.flushall()
    async with asyncio.timeout(1):
        with pytest.raises(Expired):
            await reader


@pytest.mark.usefixtures("impatient")
async def test_a_deleted_stream_is_noticed_by_live_readers(rig: Rig) -> None:
    """Where the stream was deleted before the END was seen, a live reader is told so soon."""
    record = await rig.begun(await rig.ask())
    entries = await rig.write(*open_answer(record.question_id, "one"))
    reader = await live(rig, record)
    last = end(record.question_id, "one")
    async with rig.raw.pipeline(transaction=True) as pipe:
        pipe.xadd(STREAM, last.fields())
        pipe.delete(STREAM)
        last_id, _ = await pipe.execute()
    await rig.closed(record, [*entries, dataclasses.replace(last, id=last_id)])
    async with asyncio.timeout(1):
        with pytest.raises(Expired):
            await reader


@pytest.mark.usefixtures("impatient")
async def test_a_missed_end_is_found_through_the_record(rig: Rig) -> None:
    """A reader whose feed lost entries finds them in the stream once the record says so."""
    record = await rig.begun(await rig.ask())
    entries = await rig.write(*open_answer(record.question_id, "one"))
    reader = await live(rig, record)
    for feed in rig.tail._streams[STREAM].feeds.pop(
        record.question_id
    ):  # as if the tail had passed it over
        assert not feed.overrun
    entries += await rig.write(end(record.question_id, "one"))
    await rig.closed(record, entries)
    async with asyncio.timeout(1):
        assert await reader == entries


@pytest.mark.usefixtures("impatient")
async def test_a_long_silence_is_no_end(rig: Rig) -> None:
    """A model may think: a reader that hears nothing for a while keeps waiting."""
    record = await rig.begun(await rig.ask())
    reader = await live(rig, record)
    looks = rig.commands.count("execute")
    async with asyncio.timeout(PATIENCE_S):
        await rig.commands.called("execute", looks + 3)
    assert await is_quiet(reader)
    entries = await rig.write(*whole_answer(record.question_id, "late"))
    assert await reader == entries


# Stopping


async def test_stopping_a_queued_question_ends_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question that nobody has begun ends without waiting for a worker, and is not begun."""
    monkeypatch.setattr("backend.server.question_service.STOP_TIMEOUT_S", 2 * PATIENCE_S)
    record = await rig.ask()
    began = time.monotonic()
    stopped = await rig.answers.stop(record.question_id)
    assert stopped.status == "stopped"
    assert time.monotonic() - began < 1
    assert (await rig.read(stopped))[-1].ending == STOPPED
    assert await rig.attempts.open(record.question_id, record.job_token) is None


async def test_stopping_is_left_to_the_worker(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is there ends its answer itself; on return, the END stands in the stream."""
    monkeypatch.setattr("backend.server.question_service.STOP_TIMEOUT_S", PATIENCE_S)
    record = await rig.ask()
    worker = Worker(rig, record)
    async with in_background(worker.run()):
        async with asyncio.timeout(PATIENCE_S):
            while not worker.hears:
                await rig.stops.send("another question")
        stopped = await rig.answers.stop(record.question_id)
        (*_, last) = await rig.stored()
    assert (stopped.status, last.ending, last.attempt) == ("stopped", STOPPED, 1)


async def test_stopping_returns_how_the_worker_ended_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that is done before the wish arrives is done, not stopped."""
    monkeypatch.setattr("backend.server.question_service.STOP_TIMEOUT_S", PATIENCE_S)
    record = await rig.ask()
    attempt = await rig.attempts.open(record.question_id)
    assert attempt
    stopping = asyncio.create_task(rig.answers.stop(record.question_id))
    assert await is_quiet(stopping)
    await rig.attempts.close(attempt, DONE)
    assert (await stopping).status == "done"


async def test_stopping_ends_what_a_dead_worker_has_left(rig: Rig) -> None:
    """Where nobody ends it in time, the server does, within two seconds, words kept."""
    record = await rig.ask()
    attempt = await rig.attempts.open(record.question_id)
    assert attempt
    await attempt.draft.append("half an ans")
    began = time.monotonic()
    stopped = await rig.answers.stop(record.question_id)
    assert time.monotonic() - began < 2
    entries = await rig.read(stopped)
    assert (stopped.status, words(entries), entries[-1].ending) == (
        "stopped", "half an ans", STOPPED,
    )  # fmt: skip


async def test_stopping_twice_at_once_is_one_stop(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three tabs that stop a dead worker's question are all told that it has stopped."""
    monkeypatch.setattr("backend.server.question_service.STOP_TIMEOUT_S", 0.05)
    record = await rig.ask()
    attempt = await rig.attempts.open(record.question_id)
    assert attempt
    await attempt.draft.append("half an ans")
    stops = await asyncio.gather(*(rig.answers.stop(record.question_id) for _ in range(3)))
    assert [stop.status for stop in stops] == ["stopped"] * 3
    assert words(await rig.read(await rig.answers.find(record.question_id))) == "half an ans"


@pytest.mark.parametrize("ending", [DONE, STOPPED, Ending("failed")], ids=lambda e: e.status)
async def test_stopping_an_ended_question_tells_its_status(rig: Rig, ending: Ending) -> None:
    """What has ended cannot be stopped: nothing changes."""
    record = await rig.begun(await rig.ask())
    entries = await rig.write(*open_answer(record.question_id))
    entries += await rig.write(end(record.question_id, ending=ending))
    ended = await rig.closed(record, entries, ending=ending)
    assert await rig.answers.stop(record.question_id) == ended
    assert await rig.stored() == entries


async def test_stopping_an_unknown_question_is_expired(rig: Rig) -> None:
    """There is nothing to stop under an id that nobody has asked with."""
    unknown = new_question_id()
    with pytest.raises(Expired):
        await rig.answers.stop(unknown)
    assert await rig.raw.get(question_key(unknown)) is None


async def test_stopping_while_redis_is_frozen_is_refused_in_time(own_redis: RedisServer) -> None:
    """A Redis that does not answer is storage_unavailable within two seconds."""
    async with connect(own_redis.url) as storage, Rig(storage).running() as rig:
        record = await rig.ask()
        own_redis.pause()
        began = time.monotonic()
        with pytest.raises(StorageUnavailable):
            await rig.answers.stop(record.question_id)
        assert time.monotonic() - began < 2
        own_redis.go_on()


async def test_stopping_while_redis_is_down_is_refused_in_time(own_redis: RedisServer) -> None:
    """A Redis that is not there is storage_unavailable within two seconds."""
    async with connect(own_redis.url) as storage, Rig(storage).running() as rig:
        record = await rig.ask()
        own_redis.kill()
        began = time.monotonic()
        with pytest.raises(StorageUnavailable):
            await rig.answers.stop(record.question_id)
        assert time.monotonic() - began < 2
