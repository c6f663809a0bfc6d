"""The parts below a server and a worker, wired around one Redis, for tests of what they do."""

import asyncio
import dataclasses
import functools
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Self

from backend.protocol.entries import BEGINNING, Ending, Entry
from backend.protocol.record import Record
from backend.protocol.requests import Ask, new_question_id
from backend.protocol.stream_names import StreamNames
from backend.runtime.metrics import Metrics
from backend.server.access import Access
from backend.server.ask_limits import AskLimits
from backend.server.auth import UnverifiedIdentity
from backend.server.question_service import QuestionService
from backend.settings import Settings
from backend.store.answer_log import Addition, AnswerLog, append_entries, log_key
from backend.store.connection import Storage
from backend.store.records import Records
from backend.store.stop_signals import StopSignals
from backend.store.stream_tail import Feed, StreamTail, newest_id
from backend.worker.attempts import Attempts
from backend.worker.writer import AnswerWriter
from tests.fakes.gated_redis import GatedRedis

STREAM = "OPENAI_STREAM"
RETENTION_S = 60.0
PATIENCE_S = 20.0  # all that is waited for comes soon; this is for machines under load
QUIET_S = 0.05  # so long nothing has to happen before we believe that nothing does

# Settings under which nobody is counted.
UNLIMITED = Settings(
    asks_per_minute=0,
    max_running_per_user=0,
    max_running_per_address=0,
    max_queued=0,
    max_sockets=0,
    max_sockets_per_address=0,
)

DONE = Ending("done")
STOPPED = Ending("stopped")


def new_ask(question: str = "What is a stream?") -> Ask:
    """A question that nobody has asked before."""
    return Ask(new_question_id(), "Redis", question)


def whole_answer(question_id: str, *pieces: str, attempt: int = 1) -> list[Entry]:
    """START, these pieces, END."""
    return [
        *open_answer(question_id, *pieces, attempt=attempt),
        end(question_id, *pieces, attempt=attempt),
    ]


def open_answer(question_id: str, *pieces: str, attempt: int = 1) -> list[Entry]:
    """START and these pieces."""
    return [
        Entry.start(question_id, attempt),
        *(Entry(question_id, text, attempt, number) for number, text in enumerate(pieces, 1)),
    ]


def end(question_id: str, *pieces: str, attempt: int = 1, ending: Ending = DONE) -> Entry:
    """The END that follows these pieces."""
    return Entry.end(question_id, attempt, len(pieces) + 1, ending)


def words(entries: list[Entry]) -> str:
    """What a page shows in the end: the pieces behind the last START."""
    pieces: list[str] = []
    for entry in entries:
        if entry.is_start:
            pieces.clear()
        elif entry.is_piece:
            pieces.append(entry.text)
    return "".join(pieces)


def open_access(service: QuestionService) -> Access:
    """Access for everybody, which asks no Redis for limits."""
    nowhere = Storage(commands=None, writing=None, blocking=None)
    limits = AskLimits(nowhere, Records(nowhere, RETENTION_S), UNLIMITED)
    return Access(service, UnverifiedIdentity(), limits, UNLIMITED)


async def is_quiet(task: asyncio.Task[Any]) -> bool:
    """Whether a task goes on waiting, for as long as we care to watch."""
    done, _ = await asyncio.wait({task}, timeout=QUIET_S)
    return not done


@asynccontextmanager
async def in_background(*runs: Coroutine[Any, Any, Any]) -> AsyncIterator[None]:
    """Run these until the block is left; a fault in one of them fails the test."""
    tasks = [asyncio.create_task(run) for run in runs]
    try:
        yield
    finally:
        while not all(
            task.done() for task in tasks
        ):  # see backend.tasks: some have to be told twice
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=0.02)
    for task in tasks:
        if not task.cancelled():
            task.result()


class WatchedTail(StreamTail):
    """A tail that tells when somebody subscribes."""

    def __init__(self, storage: Storage, stream: str, metrics: Metrics) -> None:
        super().__init__(storage, stream, metrics)
        self.subscriptions = 0
        self._changed = asyncio.Condition()
        self._told: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def subscribe(
        self, stream: str, question_id: str, position: str = BEGINNING
    ) -> AsyncIterator[Feed]:
        """Subscribe, and tell whoever waits in `followed`."""
        async with super().subscribe(stream, question_id, position) as feed:
            self.subscriptions += 1
            telling = asyncio.create_task(self._tell())
            self._told.add(telling)
            telling.add_done_callback(self._told.discard)
            yield feed

    async def followed(self, times: int = 1) -> None:
        """Wait until there were so many subscriptions in all."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.subscriptions >= times)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


class Rig:
    """Every part, in front of a Redis that can be watched and disturbed.

    `raw` is the client behind the gates: what other programs do goes there.
    """

    def __init__(self, storage: Storage) -> None:
        self.raw = storage.commands
        self.commands = GatedRedis(storage.commands)
        self.writing = GatedRedis(storage.writing)
        self.blocking = GatedRedis(storage.blocking)
        self.storage = Storage(commands=self.commands, writing=self.writing, blocking=self.blocking)
        self.questions = Records(self.storage, RETENTION_S)
        self.log = AnswerLog(self.commands)
        self.stops = StopSignals(self.storage)
        self.metrics = Metrics()
        self.tail = WatchedTail(self.storage, STREAM, self.metrics)
        self.writer = AnswerWriter(
            self.writing,
            keep_s=RETENTION_S,
            retention_s=RETENTION_S,
            metrics=self.metrics,
        )
        self.attempts = Attempts(self.questions, self.log, self.writer, self.metrics)
        self.answers = QuestionService(
            streams=StreamNames(STREAM),
            prepare=functools.partial(newest_id, self.storage),
            questions=self.questions,
            log=self.log,
            tail=self.tail,
            conclude=self.attempts.conclude,
            stops=self.stops,
            metrics=self.metrics,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Run the writer and the tail; both are at work when the block begins."""
        async with in_background(self.writer.run(), self.tail.run()):
            await self.blocking.called("xread")
            yield self

    async def ask(self) -> Record:
        """A question that is queued."""
        return await self.answers.ask(new_ask())

    async def begun(self, record: Record, owner: str = "worker") -> Record:
        """The record as a worker leaves it that has begun; nothing is written to the stream."""
        return await self.questions.change(
            record.question_id, lambda current: current.begun(owner, None)
        )

    async def closed(
        self, record: Record, entries: list[Entry], owner: str = "worker", ending: Ending = DONE
    ) -> Record:
        """The record as a worker leaves it whose answer consists of these entries."""
        return await self.questions.change(
            record.question_id,
            lambda current: current.closed(owner, ending, entries[0].id, entries[-1].id),
        )

    async def write(self, *entries: Entry, stream: str = STREAM) -> list[Entry]:
        """Write entries as a worker does, one by one; returns them with their ids."""
        written: list[Entry] = []
        for entry in entries:
            [entry_id] = await append_entries(
                self.raw, [Addition(stream, entry)], keep_s=60, retention_s=60
            )
            assert entry_id
            written.append(dataclasses.replace(entry, id=entry_id))
        return written

    async def erase(self, entry: Entry) -> None:
        """Take an entry out of Redis, as if it had been trimmed."""
        await self.raw.xdel(STREAM, entry.id)
        await self.raw.xdel(log_key(STREAM, entry.question_id), entry.id)

    async def answered(self, *pieces: str) -> tuple[Record, list[Entry]]:
        """A question with its whole answer: its record, and its entries."""
        record = await self.begun(await self.ask())
        entries = await self.write(*whole_answer(record.question_id, *pieces))
        return await self.closed(record, entries), entries

    async def stored(self) -> list[Entry]:
        """Everything in the stream that is ours."""
        return [
            entry for row in await self.raw.xrange(STREAM) if (entry := Entry.parse(row[0], row[1]))
        ]

    async def read(self, record: Record, after: str | None = None) -> list[Entry]:
        """Follow an answer to its end."""
        async with asyncio.timeout(PATIENCE_S):
            return [entry async for entry in self.answers.follow(record, after)]

    async def tail_caught_up(self) -> None:
        """Wait until the tail has handed out everything that stands in the stream now."""
        marker = Entry.start(new_question_id(), 1)
        async with asyncio.timeout(PATIENCE_S):
            # The plain method: what waits for followers is not to count this one.
            async with StreamTail.subscribe(self.tail, STREAM, marker.question_id) as feed:
                await self.write(marker)
                await feed.take(PATIENCE_S)
