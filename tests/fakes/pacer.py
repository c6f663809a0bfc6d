"""Sends the events of a stream on time, at little cost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

# A client that does not read makes the endpoint wait, as a real one would.
_MAX_UNSENT_BYTES = 256 * 1024


class Pacer:
    """Writes events to a connection on a fixed schedule, without a task switch for each.

    It frames the chunks of the transfer encoding itself: StreamResponse.write costs
    several times as much, and a load test would measure this endpoint.
    """

    def __init__(
        self,
        connection: asyncio.Transport,
        events: Iterable[bytes],
        interval_s: float,
        sent: Callable[[], None] = lambda: None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._events = iter(events)
        self._interval_s = interval_s
        self._sent = sent
        self._due = self._loop.time()
        self._finished: asyncio.Future[None] = self._loop.create_future()
        self._next: asyncio.Handle | None = None

    async def run(self) -> None:
        """Return after the last event; cancelling stops the clock."""
        self._tick()
        try:
            await self._finished
        finally:
            if self._next is not None:
                self._next.cancel()

    def _tick(self) -> None:
        connection = self._connection
        if connection.is_closing():
            return  # the handler is about to be cancelled
        if connection.get_write_buffer_size() > _MAX_UNSENT_BYTES:
            self._next = self._loop.call_later(0.01, self._tick)
            return
        event = next(self._events, None)
        if event is None:
            self._finished.set_result(None)
            return
        connection.write(b"%x\r\n%b\r\n" % (len(event), event))
        self._sent()
        # The schedule is absolute, so that a late tick does not delay the later ones.
        self._due += self._interval_s
        self._next = self._loop.call_at(self._due, self._tick)
