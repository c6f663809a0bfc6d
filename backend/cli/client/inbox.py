"""What happens on a connection, one after the other, for whoever takes it from there."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# More happenings than this wait only where the terminal takes nothing any more. The
# connection is given up then, and the answer resumed later: Redis keeps it better than we.
MOST_WAITING = 10_000


@dataclass(frozen=True, slots=True)
class Chunk:
    """A `chunk` event; `meta` is None where the server sends plain strings."""

    text: str
    meta: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Reply:
    """The acknowledgement of an event that we sent."""

    event: str
    payload: Any


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection has gone; nothing comes behind this."""


@dataclass(frozen=True, slots=True)
class StopWanted:
    """Somebody in front of the terminal has had enough."""


Happening = Chunk | Reply | Lost | StopWanted


class Inbox:
    """The happenings of one connection, in order. Nothing comes behind Lost."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[Happening] = asyncio.Queue()
        self._over = False

    def put(self, happening: Happening) -> None:
        """Add one; too many, and the connection counts as lost."""
        if self._over:
            return
        if self._waiting.qsize() >= MOST_WAITING:
            happening = Lost()
        self._over = isinstance(happening, Lost)
        self._waiting.put_nowait(happening)

    async def get(self) -> Happening:
        """Wait for the next one."""
        return await self._waiting.get()
