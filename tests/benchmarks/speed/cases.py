"""What is run, several times and in turn, and what each run gives."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass

import aiohttp

from tests.benchmarks.gauges import watch_process
from tests.benchmarks.load import Figures, Load, percentile, run
from tests.benchmarks.programs import Stack
from tests.benchmarks.speed.delay import delays_ms

PROBE_S = 0.005  # pause between two requests that look whether the server still answers


class Wrong(Exception):
    """An answer was not right: figures of such a run say nothing."""


@dataclass(frozen=True, slots=True)
class Case:
    """A load for one of the backends; `timed` looks at delays, `probed` at its silences.

    `beside` is a server on the same Redis that nobody asks.
    """

    name: str
    backend: str
    load: Load
    times: int = 1  # one after the other, as one run
    every: int = 1  # in every such round
    probed: bool = False
    timed: bool = False
    beside: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one run gave; times of CPU are microseconds a token."""

    tree_us: float
    first_us: float  # the server's process alone
    beside_us: float
    redis_us: float
    redis_bytes: float  # kept for a token
    tokens_s: float
    pieces: float  # a token
    xadd: float
    xread: float
    delay_p50_ms: float
    delay_p99_ms: float
    silent_ms: float  # the longest time for which the server did not answer


async def sample(case: Case, stacks: Mapping[str, Stack]) -> Sample:
    """Run a case once; raises Wrong unless every byte of every answer is right."""
    parts: list[Figures] = []
    delays: list[float] = []
    stack, beside_pid = stacks[case.backend], stacks[case.beside].pid if case.beside else None
    async with (
        _probed(stack.url if case.probed else "") as silences,
        watch_process(beside_pid) if beside_pid else nullcontext() as beside,
    ):
        for _ in range(case.times):
            figures, answers = await run(case.load, stack.url, stack.pid, stack.redis_url)
            if not figures.all_right:
                raise Wrong(f"{case.name}: {figures.verdicts}, {figures.errors}")
            parts.append(figures)
            if case.timed:
                delays += await delays_ms(stack.model_url, answers)
    beside_us = beside.cpu_s / (case.load.all_tokens * case.times) * 1e6 if beside else 0.0
    return _sum(case, parts, delays, silences, beside_us)


def _sum(
    case: Case,
    parts: list[Figures],
    delays: list[float],
    silences: list[float],
    beside_us: float,
) -> Sample:
    tokens = case.load.all_tokens * len(parts)
    processes = [part.process for part in parts if part.process]
    redis = [part.redis for part in parts if part.redis]
    return Sample(
        tree_us=sum(cost.cpu_s for cost in processes) / tokens * 1e6,
        first_us=sum(cost.first_cpu_s for cost in processes) / tokens * 1e6,
        beside_us=beside_us,
        redis_us=sum(cost.cpu_s for cost in redis) / tokens * 1e6,
        redis_bytes=sum(cost.kept_bytes for cost in redis) / tokens,
        tokens_s=tokens / sum(part.wall_s for part in parts),
        pieces=sum(part.pieces for part in parts) / tokens,
        xadd=sum(cost.commands.get("xadd", 0) for cost in redis) / tokens,
        xread=sum(cost.commands.get("xread", 0) for cost in redis) / tokens,
        delay_p50_ms=percentile(delays, 50) or 0.0,
        delay_p99_ms=percentile(delays, 99) or 0.0,
        silent_ms=max(silences, default=0.0) * 1000,
    )


@asynccontextmanager
async def _probed(url: str) -> AsyncIterator[list[float]]:
    """Ask the server for anything all the time; what it takes to answer shows a blocked loop."""
    took: list[float] = []
    if not url:
        yield took
        return

    async def probe() -> None:
        async with aiohttp.ClientSession() as http:
            while True:
                began = time.perf_counter()
                async with http.get(f"{url}/healthz") as response:
                    await response.read()
                took.append(time.perf_counter() - began)
                await asyncio.sleep(PROBE_S)

    probing = asyncio.create_task(probe())
    try:
        yield took
    finally:
        probing.cancel()
        await asyncio.gather(probing, return_exceptions=True)
