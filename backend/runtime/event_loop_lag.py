"""Measures how late the event loop is: what makes everybody's pieces late at once."""

import asyncio
import time

from .metrics import Metrics

PERIOD_S = 0.5  # between two looks: a block of the loop this long is always seen


class LoopLag:
    """Counts how much later than due a timer runs."""

    def __init__(self, metrics: Metrics) -> None:
        self._lag = metrics.loop_lag

    async def run(self) -> None:
        """Look again and again until cancelled."""
        while True:
            due = time.monotonic() + PERIOD_S  # uvloop's own clock stands still in a callback
            await asyncio.sleep(PERIOD_S)
            self._lag.observe(max(0.0, time.monotonic() - due))
