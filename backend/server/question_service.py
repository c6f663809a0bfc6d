"""What a server does with questions: ask, find, follow, stop."""

import asyncio
import contextlib
import dataclasses
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing

from ..protocol.entries import Ending, Entry, entry_order
from ..protocol.errors import Expired, IdTaken
from ..protocol.record import Record
from ..protocol.requests import EVERYBODY, Ask
from ..protocol.stream_names import is_own
from ..protocol.transcript import Fold
from ..runtime.metrics import Metrics
from ..store import work_queue
from ..store.connection import answering_within, insist
from ..store.records import Questions
from ..store.stop_signals import Stops
from ..store.stream_history import History, Place
from ..store.stream_tail import Feed, Tail
from .delivery import Delivery

REQUEST_TIMEOUT_S = 1.8  # Redis is given so long to accept, find or mark a question
STOP_TIMEOUT_S = 1.2  # a worker is given so long to end an answer before we do it ourselves
RECENT_MS = 2_000  # what follows an id of this age is read from the stream, else from the archive
IDLE_CHECK_S = 5.0  # a follower that hears nothing looks at the record this often


# Ends a question that no worker answers, keeping what was said; returns its record then.
Conclude = Callable[[str, Ending], Awaitable[Record]]


class Answers:
    """Questions as a server process sees them: through their records, the tail and the stream."""

    def __init__(
        self,
        *,
        delivery: Delivery,
        questions: Questions,
        history: History,
        tail: Tail,
        conclude: Conclude,
        stops: Stops,
        metrics: Metrics | None = None,
    ) -> None:
        self._delivery = delivery
        self._questions = questions
        self._history = history
        self._tail = tail
        self._conclude = conclude
        self._stops = stops
        self._metrics = metrics or Metrics()

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
            stream = self._delivery.stream(ask.question_id, user_id)
            cursor = self._tail.position(stream) or await self._delivery.prepare(stream)
            stored = await self._questions.create(
                Record.queued(ask, stream, cursor, token, user_id),
                work_queue.put(ask.question_id, token),
            )
        if not stored.asks(ask):
            raise IdTaken
        self._metrics.accepted.inc(stored.delivery == token)
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
        if record.status == "running" and (
            ending := await self._ending_within(STOP_TIMEOUT_S, record)
        ):
            return dataclasses.replace(record, status=ending.status, error=ending.error)
        async with answering_within(REQUEST_TIMEOUT_S):
            return await self._conclude(question_id, Ending("stopped"))

    async def follow(self, record: Record, after: str | None = None) -> AsyncGenerator[Entry]:
        """Give the entries of an answer: those that stand behind `after`, then new ones.

        Ends behind the END. Waits through outages of Redis. Raises Expired
        where entries are missing or the question has vanished.
        """
        reading = _Reading(record, after)
        await self._tail.begun()
        await insist(lambda: self._place(reading))
        while not reading.closed:
            async for entry in self._catch_up(reading):
                yield entry
            if record.ended and not reading.closed:
                raise Expired
            position = reading.place.position
            async with self._tail.subscribe(record.stream, record.question_id, position) as feed:
                async for entry in self._live(reading, feed):
                    yield entry

    async def _place(self, reading: "_Reading") -> None:
        """Begin right behind `after`, if that is a recent entry of this answer.

        Anybody else reads from the start of the answer and skips up to `after`.
        """
        record, after = reading.record, reading.after
        if after and (reading.has_own_stream or self._is_recent(after)):
            entry = await self._history.entry(record.stream, after)
            # One of an older attempt says nothing about where this one is.
            if entry and (entry.question_id, entry.attempt) == (record.question_id, record.attempt):
                reading.resume_behind(entry)

    async def _catch_up(self, reading: "_Reading", until: str = "+") -> AsyncIterator[Entry]:
        """Give what stands in Redis, page by page, at the pace of whoever takes it."""
        place = reading.place
        place.from_archive = not reading.has_own_stream and not self._is_recent(place.position)
        if place.from_archive:
            record = await insist(lambda: self._questions.read(reading.record.question_id))
            place.begin(record.attempt)
        more = True
        while more and not reading.closed:
            entries, more = await insist(
                lambda: self._history.advance(reading.record, place, until)
            )
            for entry in entries:
                if reading.admits(entry):
                    yield entry

    async def _live(self, reading: "_Reading", feed: Feed) -> AsyncIterator[Entry]:
        """Give what the feed brings, behind the little that came in before it began."""
        if entry_order(feed.position) > entry_order(reading.place.position):
            async for entry in self._catch_up(reading, feed.position):
                yield entry
        while not reading.closed and not feed.overrun:
            entries = await feed.take(IDLE_CHECK_S)
            if not entries and not feed.overrun and await self._was_missed(reading):
                return
            for entry in entries:
                reading.place.position = entry.id
                if reading.admits(entry):
                    yield entry
        self._metrics.overruns.inc(feed.overrun)

    def _is_recent(self, entry_id: str) -> bool:
        """Whether little can have been written since; ids begin with Redis's clock."""
        return self._tail.clock_ms - entry_order(entry_id)[0] <= RECENT_MS

    async def _was_missed(self, reading: "_Reading") -> bool:
        """Whether the answer has ended without our seeing it, so that reading again may help.

        Raises Expired where it does not help, or the record is gone.
        """
        record = await insist(lambda: self._questions.read(reading.record.question_id))
        if not record.ended:
            return False
        if reading.reread:
            raise Expired
        reading.reread = True
        reading.place.position = reading.last_own_id
        return True

    async def _ending_within(self, seconds: float, record: Record) -> Ending | None:
        """How an answer ends, if its END comes to stand in the stream in time."""
        with contextlib.suppress(TimeoutError, Expired):
            async with asyncio.timeout(seconds), aclosing(self.follow(record)) as entries:
                async for entry in entries:
                    if entry.ending:
                        return entry.ending
        return None


class _Reading:
    """Where one reader is in an answer; `last_own_id` is that of the last entry it was shown."""

    def __init__(self, record: Record, after: str | None) -> None:
        self.record = record
        self.after = after
        self.place = Place(record.cursor, record.attempt)
        self.last_own_id = record.cursor
        self.has_own_stream = is_own(record.stream, record.question_id)
        self.reread = False
        self._fold = Fold()
        self._skip_until = entry_order(after) if after else (0, 0)

    @property
    def closed(self) -> bool:
        return self._fold.ending is not None

    def resume_behind(self, entry: Entry) -> None:
        self._fold = Fold(entry.attempt, entry.number + 1)
        self._fold.ending = entry.ending
        self.place.position = self.last_own_id = entry.id

    def admits(self, entry: Entry) -> bool:
        """Whether this entry is to be shown next; raises Expired at a hole."""
        if entry.question_id != self.record.question_id or not self._fold.admits(entry):
            return False
        self.last_own_id = entry.id
        return entry_order(entry.id) > self._skip_until
