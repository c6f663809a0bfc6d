"""Ticks at equal distances, for all who wait."""

import asyncio

import pytest

from backend.runtime.background_tasks import cancel
from backend.runtime.ticker import ROUNDING_S, Ticker

INTERVAL_S = 0.02
PATIENCE_S = 5.0


async def test_ticks_lie_on_a_grid() -> None:
    """The next tick is a multiple of the interval, and never further off than one."""
    now, tick = asyncio.get_running_loop().time(), Ticker(INTERVAL_S).next_at()
    assert tick / INTERVAL_S == pytest.approx(round(tick / INTERVAL_S))
    assert now < tick <= now + INTERVAL_S + 2 * ROUNDING_S


async def test_waiting_ends_at_the_tick() -> None:
    """Nobody goes on before the tick has come."""
    ticker = Ticker(INTERVAL_S)
    for _ in range(5):
        tick = ticker.next_at()
        await ticker.next()
        assert asyncio.get_running_loop().time() >= tick - ROUNDING_S


async def test_all_who_wait_go_on_together() -> None:
    """Those who wait for one tick go on in one step of the loop, in the order of their coming."""
    ticker = Ticker(INTERVAL_S)
    gone_on: list[int] = []

    async def wait(number: int) -> None:
        await ticker.next()
        gone_on.append(number)

    waiting = [asyncio.create_task(wait(number)) for number in range(100)]
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert gone_on == list(range(100))


async def test_who_waits_no_more_disturbs_nobody() -> None:
    """A cancelled wait ends at once, and the others go on when it is time."""
    ticker = Ticker(INTERVAL_S)
    gone, staying = (asyncio.create_task(ticker.next()) for _ in range(2))
    await asyncio.sleep(0)
    await cancel([gone])
    assert gone.cancelled()
    async with asyncio.timeout(PATIENCE_S):
        await staying


async def test_without_an_interval_nobody_waits() -> None:
    """With an interval of 0, waiting returns in the same step."""
    with pytest.raises(StopIteration):
        Ticker(0).next().send(None)
