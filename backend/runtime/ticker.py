"""A ticker: ticks at equal distances, so that the work of many tasks is done together."""

import asyncio

# A tick that is nearer than this is the one that has just come: event loops round times.
ROUNDING_S = 0.002


class Ticker:
    """Ticks every `interval_s`, at the same times in all of a process; with 0 nobody waits."""

    def __init__(self, interval_s: float) -> None:
        self.interval_s = interval_s
        self._ticked = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    def next_at(self) -> float:
        """When the next tick comes, in the loop's time."""
        now = asyncio.get_running_loop().time()
        return ((now + ROUNDING_S) // self.interval_s + 1) * self.interval_s

    async def next(self) -> None:
        """Wait for the next tick; all who wait for it go on in the same step of the event loop."""
        if not self.interval_s:
            return
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(self.next_at(), self._tick)
        await self._ticked.wait()

    def _tick(self) -> None:
        self._timer = None
        self._ticked.set()  # which wakes those who wait now, and nobody else
        self._ticked.clear()
