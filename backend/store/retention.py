"""Retention: trims streams by age, and removes the consumers of workers that are gone.

Keys expire by themselves. Every worker does this; doing it twice changes nothing.
"""

import asyncio
import logging

from . import stop_signals, work_queue
from .connection import STORAGE_ERRORS, Storage

ROUNDS_PER_RETENTION = 24  # so that a stream holds at most a 24th more than it should
LONGEST_PAUSE_S = 60.0
SHORTEST_PAUSE_S = 0.5

logger = logging.getLogger(__name__)


class Retention:
    """Removes what is older than `retention_s` from the streams."""

    def __init__(self, storage: Storage, answer_stream: str | None, retention_s: float) -> None:
        self._redis = storage.commands
        # Streams of single users and questions are trimmed by who writes to them.
        self._streams = [each for each in (answer_stream, stop_signals.STOP_STREAM) if each]
        self._retention_ms = round(retention_s * 1000)
        pause_s = retention_s / ROUNDS_PER_RETENTION
        self._pause_s = min(max(pause_s, SHORTEST_PAUSE_S), LONGEST_PAUSE_S)

    async def run(self) -> None:
        """Clean up again and again until cancelled; an outage only delays it."""
        while True:
            try:
                await self.clean_up()
            except STORAGE_ERRORS as exc:
                logger.debug("not cleaned up (%s)", type(exc).__name__)
            await asyncio.sleep(self._pause_s)

    async def clean_up(self) -> None:
        """Trim every stream by age, on Redis's own clock, and drop consumers of dead workers."""
        seconds, microseconds = await self._redis.time()
        oldest_ms = seconds * 1000 + microseconds // 1000 - self._retention_ms
        for stream in self._streams:
            await self._redis.xtrim(stream, minid=str(max(0, oldest_ms)), approximate=False)
        await work_queue.forget_consumers(self._redis, self._retention_ms)
