"""The inbox of a connection: its events in order, for the one task that handles them."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Backpressure: so many wait only where the terminal takes nothing any more. The connection is
# given up then, and the answer resumed later: Redis keeps it meanwhile.
MOST_WAITING = 10_000


@dataclass(frozen=True, slots=True)
class ChunkEvent:
    """A `chunk` event: its text and its `meta`."""

    text: str
    meta: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """The acknowledgement of an event that we sent."""

    event: str
    payload: Any


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection was lost; nothing follows this."""


@dataclass(frozen=True, slots=True)
class StopRequested:
    """Ctrl-C was pressed."""


InboxItem = ChunkEvent | Reply | Lost | StopRequested


class Inbox:
    """The events of one connection, in order. Nothing follows Lost."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[InboxItem] = asyncio.Queue()
        self._over = False

    def put(self, item: InboxItem) -> None:
        """Add one; too many, and the connection counts as lost."""
        if self._over:
            return
        if self._waiting.qsize() >= MOST_WAITING:
            item = Lost()
        self._over = isinstance(item, Lost)
        self._waiting.put_nowait(item)

    async def get(self) -> InboxItem:
        """Wait for the next one."""
        return await self._waiting.get()
