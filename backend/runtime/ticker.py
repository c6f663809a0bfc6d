"""Moments that come at equal distances, so that what many do then costs as much as if one did."""

import asyncio

# A moment that is nearer than this is the one that has just come: event loops round times.
ROUNDING_S = 0.002


class Pace:
    """Moments every `interval_s`, the same ones in all of a process; with 0 there is no waiting."""

    def __init__(self, interval_s: float) -> None:
        self.interval_s = interval_s
        self._come = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    def next_at(self) -> float:
        """When the next moment comes, in the loop's time."""
        now = asyncio.get_running_loop().time()
        return ((now + ROUNDING_S) // self.interval_s + 1) * self.interval_s

    async def next(self) -> None:
        """Wait for the next moment; all who wait for it go on in the same step of the loop."""
        if not self.interval_s:
            return
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(self.next_at(), self._tick)
        await self._come.wait()

    def _tick(self) -> None:
        self._timer = None
        self._come.set()  # which wakes those who wait now, and nobody else
        self._come.clear()
