"""Which socket follows which answers: one task for each socket and question."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing, contextmanager

from ..protocol.entries import Entry, failure, notice
from ..protocol.errors import AppError, Busy, Expired, origin
from ..protocol.record import Record
from ..runtime.background_tasks import cancel
from .question_service import QuestionService
from .socket_outbox import SocketOutbox

logger = logging.getLogger(__name__)


class Subscription:
    """One socket that follows one answer, from behind the entry `after` or from its START."""

    def __init__(
        self,
        service: QuestionService,
        outbox: SocketOutbox,
        sid: str,
        record: Record,
        after: str | None,
    ) -> None:
        self._service = service
        self._outbox = outbox
        self._sid = sid
        self._record = record
        self._after = after
        self._attempt = max(1, record.attempt)  # the newest one that was sent

    async def run(self) -> None:
        """Send the answer; where it cannot be read on, send an END that says why."""
        try:
            await self._send_entries()
        except Exception as exc:
            question_id = self._record.question_id
            if not isinstance(exc, Expired):
                logger.error("question %s: subscription failed: %s", question_id, origin(exc))
            error = exc if isinstance(exc, AppError) else AppError()
            # Of the attempt that is shown: the END of an older one would be ignored.
            for chunk in failure(question_id, self._attempt, error.payload):
                await self._outbox.send(self._sid, chunk)

    async def _send_entries(self) -> None:
        async with aclosing(self._service.follow(self._record, self._after)) as entries:
            async for entry in entries:
                self._attempt = max(self._attempt, entry.attempt)
                if entry.ending and entry.ending.error:  # before a failed END, a line for people
                    line = notice(entry.question_id, entry.attempt, entry.ending.error)
                    await self._outbox.send(self._sid, line)
                await self._send(entry)

    async def _send(self, entry: Entry) -> None:
        await self._outbox.send(self._sid, entry.chunk())


class Subscriptions:
    """The subscriptions of all sockets of a server, at most `max_per_socket` for each."""

    def __init__(
        self, service: QuestionService, outbox: SocketOutbox, *, max_per_socket: int
    ) -> None:
        self._service = service
        self._outbox = outbox
        self._max_per_socket = max_per_socket
        self._tasks: dict[str, dict[str, asyncio.Task[None]]] = {}  # by socket, by question
        self._reserved: Counter[str] = Counter()  # by socket: those that are about to start

    def open(self, sid: str) -> None:
        """Let a socket have subscriptions."""
        self._tasks[sid] = {}

    @property
    def running(self) -> int:
        """How many answers are being sent."""
        return sum(map(len, self._tasks.values()))

    async def drop(self, sid: str) -> None:
        """End the subscriptions of a socket that has gone."""
        await cancel(self._tasks.pop(sid, {}).values())

    async def close(self) -> None:
        """End every subscription, and start none any more; on return no task of ours is left."""
        tasks = [task for of_socket in self._tasks.values() for task in of_socket.values()]
        self._tasks.clear()
        await cancel(tasks)

    @contextmanager
    def reserve(self, sid: str, question_id: str) -> Iterator[None]:
        """Count a subscription already while its question is looked up.

        Raises Busy where the socket has too many; one that replaces another is not one more.
        """
        running = self._tasks.get(sid, {})
        if question_id not in running and (
            len(running) + self._reserved[sid] >= self._max_per_socket
        ):
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
        """Let a socket of this user follow an answer; what it had of it before ends first."""
        running = self._tasks.get(sid, {})
        while previous := running.pop(record.question_id, None):
            await cancel([previous])
        if self._tasks.get(sid) is running:  # else the socket has gone meanwhile
            task = asyncio.create_task(self._subscription(sid, user_id, record, after).run())
            running[record.question_id] = task
            task.add_done_callback(lambda ended: _forget(running, record.question_id, ended))

    def _subscription(
        self, sid: str, user_id: str, record: Record, after: str | None
    ) -> Subscription:
        return Subscription(self._service, self._outbox, sid, record, after)


def _forget(
    running: dict[str, asyncio.Task[None]], question_id: str, task: asyncio.Task[None]
) -> None:
    if running.get(question_id) is task:
        del running[question_id]
