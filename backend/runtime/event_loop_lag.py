"""Measures the lag of the event loop, which delays all answers of a process at once."""

import asyncio
import time

from .metrics import Metrics

PERIOD_S = 0.5  # between two measurements: a loop that is blocked this long is always noticed


class EventLoopLag:
    """Observes how much later than due a timer runs."""

    def __init__(self, metrics: Metrics) -> None:
        self._lag = metrics.event_loop_lag

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            due = time.monotonic() + PERIOD_S  # uvloop's own clock stands still in a callback
            await asyncio.sleep(PERIOD_S)
            self._lag.observe(max(0.0, time.monotonic() - due))
