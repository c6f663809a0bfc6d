"""Appends answers to the stream: one writer a process, which never has two writes under way.

What comes in during a write waits for the next, and shares it with the pieces
of all other answers. A first piece therefore never waits for company, and a busy
server needs fewer commands a piece. So that it is not as busy, writes also wait
for the moments of a pace, at which the answers of a provider are read, too.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from ..protocol.entries import Entry
from ..runtime.metrics import Metrics
from ..runtime.ticker import Pace
from ..store import batching
from ..store.archive import Archive
from ..store.batching import Command
from ..store.connection import Client, insist
from .draft import AnswerInProgress


@dataclass(frozen=True, slots=True)
class Batch:
    """What goes out in one write. It is sent again as it is until Redis has confirmed it."""

    entries: list[tuple[AnswerInProgress, Entry]]
    pages: list[tuple[AnswerInProgress, list[Entry]]]


class AnswerWriter:
    """Writes for all answers of the process at once."""

    def __init__(
        self,
        redis: Client,
        archive: Archive,
        *,
        keep_s: float,
        retention_s: float,
        linger_s: float = 0.0,
        metrics: Metrics | None = None,
    ) -> None:
        self._redis = redis
        self._archive = archive
        self._keep_s = max(1, round(keep_s))
        self._retention_s = max(1, round(retention_s))
        self._noted: dict[AnswerInProgress, None] = {}  # a set that keeps its order
        self._pace = Pace(linger_s)
        self._metrics = metrics or Metrics()
        self.gathered = 0  # pieces since the last write: counted once for all of them
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()

    def open(self, stream: str, question_id: str, attempt: int) -> AnswerInProgress:
        """Begin to write an attempt; nothing is sent yet."""
        return AnswerInProgress(self, stream, question_id, attempt)

    def note(self, answer: AnswerInProgress, *, urgent: bool = False) -> None:
        """Remember that there is something to write; what is urgent goes at once."""
        self._noted[answer] = None
        self._wake.set()
        if urgent:
            self._hurry.set()

    def forget(self, answer: AnswerInProgress) -> None:
        """Drop what has not been sent of this answer."""
        self._noted.pop(answer, None)

    async def run(self) -> None:
        """Write until cancelled. What Redis did not take, or did not confirm, is sent again.

        Numbers make that safe: an entry that was written twice counts once.
        """
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._hurry.clear()
            noted, self._noted = self._noted, {}
            self._metrics.pieces.inc(self.gathered)
            self.gathered = 0
            batch = Batch(
                [(answer, entry) for answer in noted for entry in answer.cut()],
                [(answer, page) for answer in noted if (page := answer.page())],
            )
            if batch.entries or batch.pages:
                await self._write(batch)
                await self._linger()

    async def _linger(self) -> None:
        """Let pieces gather until the next moment, unless something is urgent."""
        if self._pace.interval_s and not self._hurry.is_set():
            loop = asyncio.get_running_loop()
            moment = loop.call_at(self._pace.next_at(), self._hurry.set)
            try:
                await self._hurry.wait()
            finally:
                moment.cancel()
            await asyncio.sleep(0)  # answers that are read at this moment go first

    async def _write(self, batch: "Batch") -> None:
        ids = await insist(lambda: self._send(batch))
        for (answer, entry), entry_id in zip(batch.entries, ids, strict=True):
            if entry_id is None:
                answer.refused()
            else:
                answer.written(entry, entry_id)
        for answer, page in batch.pages:
            answer.paged(page)
        self._metrics.entries.inc(len(batch.entries))

    async def _send(self, batch: "Batch") -> list[str | None]:
        """Write a batch; gives the ids of its entries, None for those that have no stream.

        In one step, because a later entry must not stand before an earlier one that Redis
        refused: readers would take that for a hole. A page that has no list to go to is
        left out. It is but a copy.
        """
        replies = await batching.execute(self._redis, list(self._commands(batch)))
        return replies[: len(batch.entries)]

    def _commands(self, batch: "Batch") -> Iterator[Command]:
        for answer, entry in batch.entries:
            fields = chain.from_iterable(entry.fields().items())
            yield "XADD", answer.stream, "*", *fields
        for answer, page in batch.pages:
            yield from self._archive.page(answer.question_id, page)
            if not page[-1].ending:  # somebody else's END has perhaps shortened it
                yield "EXPIRE", answer.stream, str(self._keep_s)
        for answer, entry in batch.entries:
            if entry.is_start or entry.ending:
                yield from self._bounds(answer, self._retention_s if entry.ending else self._keep_s)

    def _bounds(self, answer: AnswerInProgress, ttl_s: int) -> Iterator[Command]:
        """Let a stream expire once nobody writes to it; trim it by the clock of its own ids."""
        yield "EXPIRE", answer.stream, str(ttl_s)
        if answer.started_ms:
            oldest_ms = max(0, answer.started_ms - 1000 * self._retention_s)
            yield "XTRIM", answer.stream, "MINID", str(oldest_ms)
