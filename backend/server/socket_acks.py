"""When a client has received what it was sent: once it says so, or if it never does, once written.

A socket keeps the order of what is sent. So one acknowledgement stands for all that
went before it, and only one at a time is asked for, but for the END's.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial

PATIENCE_S = 5.0  # a client that has acknowledged nothing for so long is one that does not
MOST_NOTED = 10_000  # beyond, the oldest stay pending: a client that reads and does not say so

Received = Callable[[], None]


class Receipts:
    """What one socket was sent and has not received for sure. `is_written` tells of all of it."""

    def __init__(self, is_written: Callable[[], bool]) -> None:
        self._is_written = is_written
        self._gives: bool | None = None  # whether this client acknowledges; not known at first
        self._noted: deque[tuple[int, Received]] = deque(maxlen=MOST_NOTED)
        self._sent = 0
        self._asked = 0
        self._patience: asyncio.TimerHandle | None = None

    def note(self, received: Received, *, at_once: bool = False) -> Callable[..., None] | None:
        """Note what is about to be sent, and to whom to tell of it.

        Returns what the acknowledgement is to call; None where none is to be asked for.
        """
        self._sent += 1
        self._noted.append((self._sent, received))
        if self._gives is False or (self._asked and not at_once):
            return None
        self._asked += 1
        if self._gives is None and self._patience is None:
            loop = asyncio.get_running_loop()
            self._patience = loop.call_later(PATIENCE_S, self._lose_patience)
        return partial(self._acknowledged, self._sent)

    def look(self) -> None:
        """Take what is written for received, if this client does not acknowledge."""
        if self._gives is False and self._is_written():
            self._release(self._sent)

    def close(self) -> None:
        """Expect nothing more: the socket has gone."""
        self._noted.clear()
        if self._patience:
            self._patience.cancel()

    def _acknowledged(self, sent: int, *_: object) -> None:
        self._gives = True
        self._asked -= 1
        self._release(sent)

    def _lose_patience(self) -> None:
        if self._gives is None:
            self._gives = False
            self.look()

    def _release(self, sent: int) -> None:
        while self._noted and self._noted[0][0] <= sent:
            self._noted.popleft()[1]()
