"""How late the event loop is."""

import asyncio
import time

import pytest

from backend.runtime.background_tasks import cancel
from backend.runtime.event_loop_lag import EventLoopLag
from backend.runtime.metrics import Metrics
from tests.fakes.scrape import counted


async def test_a_blocked_loop_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What keeps the loop from its other work is noted with its length."""
    monkeypatch.setattr("backend.runtime.event_loop_lag.PERIOD_S", 0.001)
    metrics = Metrics()
    watching = asyncio.create_task(EventLoopLag(metrics).run())
    await asyncio.sleep(0)
    until = time.monotonic() + 0.1
    while time.monotonic() < until:
        pass  # as a computation does
    async with asyncio.timeout(5):
        while not counted(metrics, "event_loop_lag_seconds_count"):  # noqa: ASYNC110  no event
            await asyncio.sleep(0)
    await cancel([watching])
    assert counted(metrics, "event_loop_lag_seconds_sum") >= 0.09
