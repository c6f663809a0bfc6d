"""Writes answers to Redis: one writer a process, which never has two writes under way.

What comes in during a write waits for the next, and shares it with the pieces
of all other answers. A first piece therefore never waits for company, and a busy
server needs fewer commands a piece. So that it is not as busy, writes also wait
for the ticks of a ticker, at which the answers of a provider are read, too.
"""

import asyncio

from ..protocol.entries import Entry
from ..runtime.metrics import Metrics
from ..runtime.ticker import Ticker
from ..store.answer_log import Addition, append_entries
from ..store.connection import Client, insist
from .draft import Draft

Batch = list[tuple[Draft, Entry]]  # what goes out in one write


class AnswerWriter:
    """Writes for all answers of the process at once."""

    def __init__(
        self,
        redis: Client,
        *,
        keep_s: float,
        retention_s: float,
        metrics: Metrics,
        linger_s: float = 0.0,
    ) -> None:
        self._redis = redis
        self._keep_s = max(1, round(keep_s))
        self._retention_s = max(1, round(retention_s))
        self._due: dict[Draft, None] = {}  # a set that keeps its order
        self._ticker = Ticker(linger_s)
        self._metrics = metrics
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()

    def open(self, stream: str, question_id: str, attempt: int) -> Draft:
        """Begin to write an attempt; nothing is sent yet."""
        return Draft(stream, question_id, attempt, self._note)

    async def run(self) -> None:
        """Write until cancelled. What Redis did not take, or did not confirm, is sent again.

        Numbers make that safe: an entry that was written twice counts once.
        """
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._hurry.clear()
            if batch := self._take():
                await self._write(batch)
                await self._linger()

    def _note(self, draft: Draft, is_urgent: bool) -> None:
        """Remember that there is something to write; what is urgent goes at once."""
        self._due[draft] = None
        self._wake.set()
        if is_urgent:
            self._hurry.set()

    def _take(self) -> Batch:
        due, self._due = self._due, {}
        batch: Batch = []
        pieces = 0
        for draft in due:
            entries, gathered = draft.take()
            pieces += gathered
            batch += [(draft, entry) for entry in entries]
        self._metrics.pieces.inc(pieces)  # counted once for all of them
        return batch

    async def _linger(self) -> None:
        """Let pieces gather until the next tick, unless something is urgent."""
        if self._ticker.interval_s and not self._hurry.is_set():
            loop = asyncio.get_running_loop()
            tick = loop.call_at(self._ticker.next_at(), self._hurry.set)
            try:
                await self._hurry.wait()
            finally:
                tick.cancel()
            await asyncio.sleep(0)  # answers that are read at this tick go first

    async def _write(self, batch: Batch) -> None:
        """Write a batch; it is sent again as it is until Redis has confirmed it."""
        retention_ms = 1000 * self._retention_s
        additions = [
            Addition(draft.stream, entry, max(0, draft.started_ms - retention_ms))
            for draft, entry in batch
        ]
        ids = await insist(
            lambda: append_entries(
                self._redis, additions, keep_s=self._keep_s, retention_s=self._retention_s
            )
        )
        for (draft, entry), entry_id in zip(batch, ids, strict=True):
            if entry_id is None:
                draft.refused()
            else:
                draft.written(entry, entry_id)
        self._metrics.entries.inc(len(batch))
