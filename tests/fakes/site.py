"""A server around one Redis to which workers are added, and what stands in Redis then."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any

from backend.app import ServerParts, SharedParts, WorkerParts
from backend.llm.base import Chain
from backend.protocol.entries import BEGINNING, Entry
from backend.protocol.errors import StorageUnavailable
from backend.protocol.record import Record
from backend.protocol.requests import Ask, new_question_id
from backend.protocol.transcript import Transcript
from backend.runtime.background_tasks import BackgroundTasks
from backend.settings import Settings
from backend.store.connection import Storage
from backend.store.records import Records
from backend.store.work_queue import QUEUE_GROUP, QUEUE_STREAM
from backend.worker.worker import Worker

PATIENCE_S = 10.0  # all that is waited for comes soon; this is for machines under load
LEASE_S = 0.5  # the shortest there is
TOPIC, QUESTION = "the sea", "why is it salty?"


class Site:
    """A server around one Redis, to which workers can be added."""

    def __init__(self, storage: Storage, connect: Callable[[], Storage]) -> None:
        self.redis = storage.commands
        self._connect = connect
        self._questions = Records(storage, 60)
        self._shared = SharedParts(storage, Settings())
        self._server = ServerParts(self._shared)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Site"]:
        """Run the server; questions can be asked when the block begins."""
        async with BackgroundTasks(self._shared.writer.run, self._server.tail.run):
            while not self._can_be_asked():
                await self.redis.ping()  # a round trip: the tail gets its turn meanwhile
            yield self

    def _can_be_asked(self) -> bool:
        try:
            self._server.tail.require()
        except StorageUnavailable:
            return False
        return True

    @asynccontextmanager
    async def worker(self, chain: Chain, **settings: Any) -> AsyncIterator[Worker]:
        """Run a worker; where the block is left without a drain, it dies in the middle of work."""

        async def load(_: Settings) -> Chain:
            return chain

        storage = self._connect()
        shared = SharedParts(storage, replace(Settings(lease_s=LEASE_S), **settings))
        worker = WorkerParts(shared, load).worker
        async with BackgroundTasks(shared.writer.run, worker.run):
            yield worker
        if storage.commands is not self.redis:
            await storage.__aexit__()

    async def ask(self, question_id: str = "") -> Record:
        """Ask a question."""
        return await self._server.answers.ask(
            Ask(question_id or new_question_id(), TOPIC, QUESTION)
        )

    async def stop(self, record: Record) -> Record:
        """Stop a question, as a client does."""
        return await self._server.answers.stop(record.question_id)

    async def read(self, record: Record) -> list[Entry]:
        """Follow an answer to its end."""
        async with asyncio.timeout(PATIENCE_S):
            return [entry async for entry in self._server.answers.follow(record)]

    async def heard(self, record: Record, text: str) -> None:
        """Wait until this has been said."""
        said: list[Entry] = []
        async with (
            asyncio.timeout(PATIENCE_S),
            aclosing(self._server.answers.follow(record)) as entries,
        ):
            async for entry in entries:
                said.append(entry)
                if words(said) == text:
                    return
        raise AssertionError(f"ended without having said {text!r}")

    async def changed(self, record: Record, transition: Callable[[Record], Record]) -> Record:
        """Change the record, as another process does."""
        return await self._questions.change(record.question_id, transition)

    async def thought(self, record: Record) -> None:
        """Wait until something has been thought."""
        async with (
            asyncio.timeout(PATIENCE_S),
            aclosing(self._server.answers.follow(record)) as entries,
        ):
            async for entry in entries:
                if entry.reasoning:
                    return

    async def settled(self, record: Record) -> Record:
        """Wait until nothing is queued and nothing in work; the record as it stands then."""
        async with asyncio.timeout(PATIENCE_S):
            while await self.redis.xlen(QUEUE_STREAM):
                pass  # a round trip: the worker gets its turn meanwhile
        assert (await self.redis.xpending(QUEUE_STREAM, QUEUE_GROUP))["pending"] == 0
        return await self._questions.read(record.question_id)

    async def stored(self, record: Record) -> list[Entry]:
        """What stands in the stream of this answer."""
        rows = await self.redis.xrange(record.stream, min=f"({BEGINNING}")
        entries = [entry for row in rows if (entry := Entry.parse(*row))]
        return [entry for entry in entries if entry.question_id == record.question_id]


def words(entries: list[Entry]) -> str:
    """What a page shows in the end: the pieces behind the last START."""
    text = ""
    for entry in entries:
        text = "" if entry.is_start else text + entry.text if entry.is_piece else text
    return text


def outcome(entries: list[Entry]) -> tuple[str, str, str | None]:
    """The text of an answer, its status, and the code of its error."""
    ending = entries[-1].ending
    assert ending
    return words(entries), ending.status, ending.error["code"] if ending.error else None


def thought_of(entries: list[Entry]) -> str:
    """All that was thought in the last attempt."""
    transcript = Transcript()
    for entry in entries:
        transcript.add(entry)
    return transcript.reasoning
