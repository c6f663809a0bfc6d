"""The readers of a server: one task for each socket and the question that it follows."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager

from ..protocol.entries import Chunk, Entry, failure, notice
from ..protocol.errors import AppError, Busy, Expired, origin
from ..protocol.record import Record
from ..runtime.task_groups import cancel
from .delivery import Delivery, Receipt
from .question_service import Answers
from .socket_acks import Received

logger = logging.getLogger(__name__)

Emit = Callable[[str, Chunk, Received | None], Awaitable[None]]


class Readers:
    """Starts and ends readers.

    `emit` sends a chunk, waits while the socket is behind, and calls what it is given
    once the client has received the chunk.
    """

    def __init__(
        self, answers: Answers, delivery: Delivery, emit: Emit, most_per_socket: int
    ) -> None:
        self._answers = answers
        self._delivery = delivery
        self._emit = emit
        self._most = most_per_socket
        self._tasks: dict[str, dict[str, asyncio.Task[None]]] = {}
        self._reserved: Counter[str] = Counter()  # by socket: readers that are about to start

    def open(self, sid: str) -> None:
        """Let a socket have readers."""
        self._tasks[sid] = {}

    @property
    def running(self) -> int:
        """How many answers are being sent."""
        return sum(map(len, self._tasks.values()))

    async def drop(self, sid: str) -> None:
        """End the readers of a socket that has gone."""
        await cancel(self._tasks.pop(sid, {}).values())

    async def close(self) -> None:
        """End every reader, and start none any more; on return no task of ours is left."""
        tasks = [task for readers in self._tasks.values() for task in readers.values()]
        self._tasks.clear()
        await cancel(tasks)

    @contextmanager
    def place(self, sid: str, question_id: str) -> Iterator[None]:
        """Keep a place for a reader while its question is looked up.

        Raises Busy where the socket has too many; going on with one is not one more.
        """
        readers = self._tasks.get(sid, {})
        if question_id not in readers and len(readers) + self._reserved[sid] >= self._most:
            raise Busy(
                "This connection follows too many answers already.",
                limit="max_followed_per_socket",
            )
        self._reserved[sid] += 1
        try:
            yield
        finally:
            self._reserved[sid] -= 1
            if not self._reserved[sid]:
                del self._reserved[sid]

    async def start(self, sid: str, user_id: str, record: Record, after: str | None = None) -> None:
        """Start a reader, in place of one that the user's socket may have for this question."""
        readers = self._tasks.get(sid, {})
        while previous := readers.pop(record.question_id, None):
            await cancel([previous])
        if self._tasks.get(sid) is readers:  # else the socket has gone meanwhile
            task = asyncio.create_task(self._forward(sid, user_id, record, after))
            readers[record.question_id] = task
            task.add_done_callback(lambda ended: _forget(readers, record.question_id, ended))

    async def _forward(self, sid: str, user_id: str, record: Record, after: str | None) -> None:
        """Send an answer to a socket, entry by entry."""
        attempt = max(1, record.attempt)
        try:
            async with (
                self._delivery.handout(record, user_id, after) as handout,
                aclosing(self._answers.follow(record, after)) as entries,
            ):
                async for entry in entries:
                    attempt = max(attempt, entry.attempt)
                    await self._send(sid, entry, await handout.deliver(entry))
        except Exception as exc:
            if not isinstance(exc, Expired):
                logger.error("question %s: reader failed: %s", record.question_id, origin(exc))
            error = exc if isinstance(exc, AppError) else AppError()
            # Of the attempt that is shown: an end of an older one would be ignored.
            for chunk in failure(record.question_id, attempt, error.payload):
                await self._emit(sid, chunk, None)

    async def _send(self, sid: str, entry: Entry, receipt: Receipt) -> None:
        if entry.ending and entry.ending.error:  # before a failed END stands a line for people
            line = notice(entry.question_id, entry.attempt, entry.ending.error)
            await self._emit(sid, line, None)
        await self._emit(sid, entry.chunk(redelivered=receipt.redelivered), receipt.received)


def _forget(
    readers: dict[str, asyncio.Task[None]], question_id: str, task: asyncio.Task[None]
) -> None:
    if readers.get(question_id) is task:
        del readers[question_id]
