"""When an entry counts as delivered: the seam between the two ways of reading the stream.

Readers take entries from the tail and from history in either way. What differs is
the name of the stream, and what Redis is told when a client has received an entry.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from ..protocol.entries import Entry
from ..protocol.record import Record
from ..protocol.requests import new_question_id
from ..protocol.stream_names import Streams
from ..store.connection import Storage
from ..store.stream_tail import newest_id


@dataclass(frozen=True, slots=True)
class Receipt:
    """What comes with an entry on its way to a client.

    `redelivered`: some client of the user may have it already. `received` is to be
    called once the client has it; None where nobody wants to know.
    """

    redelivered: bool = False
    received: Callable[[], None] | None = None


class Handout(Protocol):
    """The entries of one answer, on their way to one client."""

    async def deliver(self, entry: Entry) -> Receipt:
        """Count an entry as delivered; it may be sent on return."""


class Delivery(Protocol):
    """One way of reading the stream."""

    def new_question_id(self) -> str:
        """An id for a question whose asker chose none."""

    def stream(self, question_id: str, user_id: str) -> str:
        """The stream of a new question."""

    async def prepare(self, stream: str) -> str:
        """Make a stream ready for an answer; returns an id that its entries will come after."""

    def handout(
        self, record: Record, user_id: str, after: str | None
    ) -> AbstractAsyncContextManager[Handout]:
        """Begin to hand an answer out to a client of this user, who has what is up to `after`."""

    async def run(self) -> None:
        """Tell Redis what was received, until cancelled."""


class PlainDelivery:
    """Reading with XREAD: an entry that was sent is done with, and the client keeps its place."""

    def __init__(self, storage: Storage, streams: Streams) -> None:
        self._storage = storage
        self._streams = streams

    def new_question_id(self) -> str:
        """A UUID."""
        return new_question_id()

    def stream(self, question_id: str, user_id: str) -> str:
        """What the settings say."""
        return self._streams.name(question_id, user_id)

    async def prepare(self, stream: str) -> str:
        """Find the end of the stream; there is nothing to prepare."""
        return await newest_id(self._storage, stream)

    @asynccontextmanager
    async def handout(
        self, record: Record, user_id: str, after: str | None
    ) -> AsyncIterator[Handout]:
        """Hand out with no word to Redis."""
        yield SENT_IS_DONE

    async def run(self) -> None:
        """Wait: there is nothing to tell."""
        await asyncio.Event().wait()


class _SentIsDone:
    """A handout that nobody keeps account of."""

    async def deliver(self, entry: Entry) -> Receipt:
        """Count nothing."""
        return _NO_RECEIPT


_NO_RECEIPT = Receipt()
SENT_IS_DONE: Handout = _SentIsDone()
