"""What a server does with questions: ask, find, follow, stop."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

from ..protocol.entries import Ending, Entry, entry_order
from ..protocol.errors import Expired, IdTaken
from ..protocol.record import Record
from ..protocol.requests import EVERYBODY, Ask
from ..protocol.stream_names import StreamNames
from ..protocol.transcript import Fold
from ..runtime.metrics import Metrics
from ..store import work_queue
from ..store.answer_log import NEWEST, AnswerLog
from ..store.connection import answering_within, insist
from ..store.records import Records
from ..store.stop_signals import StopSignals
from ..store.stream_tail import Feed, StreamTail

REQUEST_TIMEOUT_S = 1.8  # Redis is given so long to accept, find or mark a question
STOP_TIMEOUT_S = 1.2  # a worker is given so long to end an answer before we do it ourselves
STOP_LOOK_S = 0.1  # meanwhile the record is looked at this often, and with each entry
IDLE_CHECK_S = 5.0  # a follower that hears nothing looks at the record this often


# Makes the stream of an answer ready; returns the id of its newest entry.
PrepareStream = Callable[[str], Awaitable[str]]
# Ends a question that no worker answers, keeping what was said; returns its record then.
Conclude = Callable[[str, Ending], Awaitable[Record]]


class QuestionService:
    """Asks, finds, follows and stops questions, for every transport alike."""

    def __init__(
        self,
        *,
        streams: StreamNames,
        prepare: PrepareStream,
        questions: Records,
        log: AnswerLog,
        tail: StreamTail,
        conclude: Conclude,
        stops: StopSignals,
        metrics: Metrics,
    ) -> None:
        self._streams = streams
        self._prepare = prepare
        self._questions = questions
        self._log = log
        self._tail = tail
        self._conclude = conclude
        self._stops = stops
        self._metrics = metrics

    async def check(self) -> None:
        """Raise StorageUnavailable unless a question could be accepted and followed now."""
        async with answering_within(REQUEST_TIMEOUT_S):
            await self._questions.ping()
        self._tail.require()

    async def ask(self, ask: Ask, user_id: str = EVERYBODY) -> Record:
        """Queue a user's question, or find it where it was asked before.

        On return it stands in Redis and will be answered. Raises IdTaken
        where the id belongs to another question, and
        StorageUnavailable; cancelled or failed, it may have been queued.
        """
        token = uuid.uuid4().hex
        async with answering_within(REQUEST_TIMEOUT_S):
            await self._tail.begun()
            stream = self._streams.name(ask.question_id, user_id)
            cursor = self._tail.position(stream) or await self._prepare(stream)
            stored = await self._questions.create(
                Record.queued(ask, stream, cursor, token, user_id),
                work_queue.put(ask.question_id, token),
            )
        if not stored.asks(ask):
            raise IdTaken
        self._metrics.accepted.inc(stored.job_token == token)
        return stored

    async def find(self, question_id: str) -> Record:
        """The record of a question; raises Expired where there is none, or StorageUnavailable."""
        async with answering_within(REQUEST_TIMEOUT_S):
            return await self._questions.read(question_id)

    async def stop(self, question_id: str) -> Record:
        """End a question now, keeping what was said; returns its record with its final status.

        The worker that answers it is told. Where none does so in time, because
        the question is still queued or its worker is gone, it is ended here.
        Raises Expired and StorageUnavailable.
        """
        async with answering_within(REQUEST_TIMEOUT_S):
            record = await self._questions.change(question_id, lambda current: current.stopping())
            if record.status == "running":
                await self._stops.send(question_id)
        if record.ended:
            return record
        if record.status == "running":
            ended = await self._ended_within(STOP_TIMEOUT_S, record)
            if ended:
                return ended
        async with answering_within(REQUEST_TIMEOUT_S):
            return await self._conclude(question_id, Ending("stopped"))

    async def follow(self, record: Record, after: str | None = None) -> AsyncGenerator[Entry]:
        """Give the entries of an answer: those that stand behind `after`, then new ones.

        Ends behind the END. Waits through outages of Redis. Raises Expired
        where entries are missing or the question has vanished.
        """
        reading = _Reading(record)
        await self._tail.begun()
        if after:
            await insist(lambda: self._resume(reading, after))
        while not reading.is_over:
            async for entry in self._replay(reading):
                yield entry
            if record.ended and not reading.is_over:
                raise Expired
            position = reading.position
            async with self._tail.subscribe(record.stream, record.question_id, position) as feed:
                async for entry in self._live(reading, feed):
                    yield entry

    async def _resume(self, reading: "_Reading", after: str) -> None:
        """Begin right behind an entry of the current attempt.

        An entry of an older one says nothing about where this one is; and behind what is no
        entry of this answer nobody has been. Then the answer is read from its start, and what
        stands up to that id is not shown.
        """
        entry = await self._log.entry(reading.record, after)
        if entry and entry.attempt == reading.record.attempt:
            reading.resume_behind(entry)
        else:
            reading.skip_until(after)

    async def _replay(self, reading: "_Reading", until: str = NEWEST) -> AsyncIterator[Entry]:
        """Give what stands in the log, at the pace of whoever takes it."""
        more = True
        while more and not reading.is_over:
            entries, reading.position, more = await insist(
                lambda: self._log.read(reading.record, reading.position, until)
            )
            for entry in entries:
                if reading.admits(entry):
                    yield entry

    async def _live(self, reading: "_Reading", feed: Feed) -> AsyncIterator[Entry]:
        """Give what the feed brings, behind the little that was written before it began."""
        if entry_order(feed.position) > entry_order(reading.position):
            async for entry in self._replay(reading, feed.position):
                yield entry
        while not reading.is_over and not feed.overrun:
            entries = await feed.take(IDLE_CHECK_S)
            if not entries and not feed.overrun and await self._was_missed(reading):
                return
            for entry in entries:
                reading.position = entry.id
                if reading.admits(entry):
                    yield entry
        self._metrics.overruns.inc(feed.overrun)

    async def _was_missed(self, reading: "_Reading") -> bool:
        """Whether the answer has ended without our seeing it, so that reading again may help.

        Raises Expired where it does not help, or the record is gone.
        """
        record = await insist(lambda: self._questions.read(reading.record.question_id))
        if not record.ended:
            return False
        if reading.was_read_again:
            raise Expired
        reading.was_read_again = True
        return True

    async def _ended_within(self, seconds: float, record: Record) -> Record | None:
        """The record once it says that the answer has ended, if it does so in time."""
        with contextlib.suppress(TimeoutError, Expired):
            async with asyncio.timeout(seconds):
                await self._tail.begun()
                async with self._tail.subscribe(
                    record.stream, record.question_id, record.cursor
                ) as feed:
                    while not (current := await self._questions.read(record.question_id)).ended:
                        await feed.take(STOP_LOOK_S)  # the END comes shortly before the record
                    return current
        return None


class _Reading:
    """Where one reader is in an answer: `position` is the id up to which it has read."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.position = record.cursor
        self.was_read_again = False
        self._fold = Fold()
        self._skipped = (0, 0)  # ids up to this one are not shown

    @property
    def is_over(self) -> bool:
        """Whether the END was read."""
        return self._fold.ending is not None

    def resume_behind(self, entry: Entry) -> None:
        """Go on behind this entry of the current attempt."""
        self._fold = Fold(entry.attempt, entry.number + 1)
        self._fold.ending = entry.ending
        self.position = entry.id

    def skip_until(self, entry_id: str) -> None:
        """Show only what stands behind this id."""
        self._skipped = entry_order(entry_id)

    def admits(self, entry: Entry) -> bool:
        """Whether this entry is to be shown next; raises Expired at a hole."""
        return self._fold.admits(entry) and entry_order(entry.id) > self._skipped
