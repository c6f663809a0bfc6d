"""What a run costs the server and its Redis, measured from outside."""

from __future__ import annotations

import asyncio
import ctypes
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import psutil  # type: ignore[import-untyped]  # it ships no types
import redis.asyncio

from backend.runtime.background_tasks import cancel

_SAMPLE_S = 0.25


@dataclass(slots=True)
class ProcessCost:
    """CPU time between entry and exit, and memory, of a process and all below it."""

    processes: int = 0
    cpu_s: float = 0.0
    first_cpu_s: float = 0.0  # of that process alone
    rss_before_mb: float = 0.0
    rss_peak_mb: float = 0.0


@dataclass(slots=True)
class RedisCost:
    """Connections and commands of everybody but this gauge, and the CPU time of the server."""

    cpu_s: float = 0.0
    kept_bytes: int = 0  # by which its memory has grown
    connections_before: int = 0
    connections_peak: int = 0
    commands: dict[str, int] = field(default_factory=dict)


@asynccontextmanager
async def watch_process(pid: int) -> AsyncIterator[ProcessCost]:
    """Measure a process tree; the values are complete after the exit.

    The tree is the one at the start. A process that ends meanwhile counts as far
    as it was seen. Raises ProcessLookupError where there is no such process.
    """
    tree = _tree(pid)
    cost = ProcessCost(processes=len(tree), rss_before_mb=_rss_mb(tree))
    before = _cpu_ns(tree)
    latest = dict(before)

    async def sample() -> None:
        latest.update(_cpu_ns(tree))
        cost.rss_peak_mb = max(cost.rss_peak_mb, _rss_mb(tree))

    async with _sampled(sample):
        yield cost
    await sample()
    cost.cpu_s = (sum(latest.values()) - sum(before.values())) / 1e9
    cost.first_cpu_s = (latest.get(pid, 0) - before.get(pid, 0)) / 1e9


@asynccontextmanager
async def watch_redis(url: str) -> AsyncIterator[RedisCost]:
    """Measure a Redis server; the values are complete after the exit."""
    async with redis.asyncio.Redis.from_url(url, decode_responses=True) as client:
        before, cpu_s = await _commands(client), await _server_cpu_s(client)
        used = await _used_bytes(client)
        cost = RedisCost(connections_before=await _connections(client))

        async def sample() -> None:
            cost.connections_peak = max(cost.connections_peak, await _connections(client))

        async with _sampled(sample):
            yield cost
        cost.cpu_s = await _server_cpu_s(client) - cpu_s
        cost.kept_bytes = await _used_bytes(client) - used
        for name, calls in (await _commands(client)).items():
            if calls > before.get(name, 0):
                cost.commands[name] = calls - before.get(name, 0)


@asynccontextmanager
async def _sampled(sample: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    async def repeat() -> None:
        while True:
            await sample()
            await asyncio.sleep(_SAMPLE_S)

    sampling = asyncio.create_task(repeat())
    try:
        yield
    finally:
        await cancel([sampling])  # again and again: redis-py may swallow a cancellation


def _tree(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess as exc:
        raise ProcessLookupError(f"there is no process {pid}") from exc


def _cpu_ns(tree: list[psutil.Process]) -> dict[int, int]:
    used = {}
    for member in tree:
        with suppress(psutil.NoSuchProcess, OSError):
            used[member.pid] = _process_cpu_ns(member)
    return used


def _process_cpu_ns(process: psutil.Process) -> int:
    """The CPU time of a process: whole nanoseconds where the system has a clock for it."""
    if clock_of := getattr(ctypes.CDLL(None), "clock_getcpuclockid", None):
        clock = ctypes.c_int()
        if clock_of(process.pid, ctypes.byref(clock)) == 0:
            return time.clock_gettime_ns(clock.value)
    times = process.cpu_times()  # in steps of 10 ms
    return int((times.user + times.system) * 1e9)


def _rss_mb(tree: list[psutil.Process]) -> float:
    total = 0
    for member in tree:
        with suppress(psutil.NoSuchProcess):
            total += member.memory_info().rss
    return total / 1e6


async def _connections(client: redis.asyncio.Redis) -> int:
    info = await client.info("clients")
    return int(info["connected_clients"]) - 1  # without our own


async def _server_cpu_s(client: redis.asyncio.Redis) -> float:
    used = await client.info("cpu")
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


async def _used_bytes(client: redis.asyncio.Redis) -> int:
    info = await client.info("memory")
    return int(info["used_memory_dataset"])


async def _commands(client: redis.asyncio.Redis) -> dict[str, int]:
    stats = await client.info("commandstats")
    ours = {"cmdstat_info", "cmdstat_hello", "cmdstat_client|setinfo"}
    return {
        name.removeprefix("cmdstat_"): int(values["calls"])
        for name, values in stats.items()
        if name not in ours
    }
