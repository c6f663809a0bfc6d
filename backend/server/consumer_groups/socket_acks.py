"""When a client has received what it was sent: once it acknowledges, or else once it is written.

A socket keeps the order of what is sent. So one acknowledgement stands for everything
sent before it, and only one at a time is asked for, besides the END's.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial

ACK_TIMEOUT_S = 5.0  # a client that has acknowledged nothing within this time never does
MAX_UNACKNOWLEDGED = 10_000  # entries; beyond, the oldest stay pending in Redis

Received = Callable[[], None]


class SocketAcks:
    """What one socket was sent and has not acknowledged. `is_written` tells of all of it."""

    def __init__(self, is_written: Callable[[], bool]) -> None:
        self._is_written = is_written
        self._client_acknowledges: bool | None = None  # not known at first
        self._unacknowledged: deque[tuple[int, Received]] = deque(maxlen=MAX_UNACKNOWLEDGED)
        self._sent = 0
        self._requested = 0  # acknowledgements that have not come yet
        self._timeout: asyncio.TimerHandle | None = None

    def add(self, received: Received, *, is_last: bool = False) -> Callable[..., None] | None:
        """Count what is about to be sent; `received` is called once the client has it.

        Returns what the acknowledgement is to call; None where none is to be asked for.
        """
        self._sent += 1
        self._unacknowledged.append((self._sent, received))
        if self._client_acknowledges is False or (self._requested and not is_last):
            return None
        self._requested += 1
        if self._client_acknowledges is None and self._timeout is None:
            loop = asyncio.get_running_loop()
            self._timeout = loop.call_later(ACK_TIMEOUT_S, self._timed_out)
        return partial(self._acknowledged, self._sent)

    def check_written(self) -> None:
        """Take what is written for received, if this client does not acknowledge."""
        if self._client_acknowledges is False and self._is_written():
            self._release(self._sent)

    def close(self) -> None:
        """Expect nothing more: the socket has gone."""
        self._unacknowledged.clear()
        if self._timeout:
            self._timeout.cancel()

    def _acknowledged(self, sent: int, *_: object) -> None:
        self._client_acknowledges = True
        self._requested -= 1
        self._release(sent)

    def _timed_out(self) -> None:
        if self._client_acknowledges is None:
            self._client_acknowledges = False
            self.check_written()

    def _release(self, sent: int) -> None:
        while self._unacknowledged and self._unacknowledged[0][0] <= sent:
            self._unacknowledged.popleft()[1]()
