"""Pipelining: the commands that many tasks send at the same moment share one round trip.

A hundred questions that arrive together are a hundred small commands. On a connection each they
would queue for connections, and every round trip takes as long as the event loop is busy with
everybody else.
"""

import asyncio
from typing import Any

from ..runtime.background_tasks import cancel
from .failures import Failures

Command = tuple[str | int | float, ...]  # its name and its arguments


class Pipelining:
    """Single commands of many tasks on one connection, in the order in which they were given."""

    def __init__(self, redis: Any, failures: Failures) -> None:
        self._redis = redis
        self._failures = failures
        self._waiting: list[tuple[Command, asyncio.Future[Any]]] = []
        self._sending: asyncio.Task[None] | None = None
        self._closed = False

    async def send(self, *command: str | int | float) -> Any:
        """Send a command and return its reply; raises what Redis or the connection raises.

        Cancelled, or failed with the connection, it may have been executed.
        """
        reply = self._queue(command)
        return await reply

    async def send_together(self, *commands: Command) -> list[Any]:
        """Send commands as one transaction; returns their replies as Redis words them.

        Where Redis refuses one of them, this raises its error; the others are executed.
        """
        self._queue(("MULTI",))
        for command in commands:
            self._queue(command)
        replies: list[Any] = await self._queue(("EXEC",))
        for reply in replies:
            if isinstance(reply, Exception):
                self._failures.add(reply)
                raise reply
        return replies

    def _queue(self, command: Command) -> asyncio.Future[Any]:
        if self._closed:
            raise ConnectionError("the storage is closed")
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        reply.add_done_callback(_retrieve)
        self._waiting.append((command, reply))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_all())
        return reply

    async def aclose(self) -> None:
        """Send nothing more; whoever still waits is cancelled, later callers get an error."""
        self._closed = True
        if self._sending:
            await cancel([self._sending])
        for _, reply in self._waiting:
            reply.cancel()

    async def _send_all(self) -> None:
        """Send as long as something waits; what is given meanwhile goes with the next round."""
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._round_trip(batch)
        finally:
            self._sending = None

    async def _round_trip(self, batch: list[tuple[Command, asyncio.Future[Any]]]) -> None:
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for command, _ in batch:
                    pipe.execute_command(*command)
                replies = await pipe.execute(raise_on_error=False)
        except Exception as exc:  # handed on to everybody who waits
            self._failures.add(exc)
            replies = [exc] * len(batch)
        except asyncio.CancelledError:
            for _, reply in batch:
                reply.cancel()
            raise
        for (_, reply), value in zip(batch, replies, strict=True):
            if reply.done():
                continue  # cancelled meanwhile
            if isinstance(value, Exception):
                reply.set_exception(value)
            else:
                reply.set_result(value)


def _retrieve(reply: asyncio.Future[Any]) -> None:
    """Keep asyncio from reporting errors whose caller has been cancelled."""
    if not reply.cancelled():
        reply.exception()
