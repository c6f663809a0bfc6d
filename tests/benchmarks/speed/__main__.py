"""The command line: what runs, in which order, how often."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import defaultdict
from contextlib import AsyncExitStack
from dataclasses import dataclass

import aiohttp
from redis.exceptions import RedisError

import tests.benchmarks.speed as this
from tests.benchmarks.load import Load, run
from tests.benchmarks.programs import (
    DidNotStart,
    Stack,
    fake_endpoint,
    raise_file_limit,
    redis_server,
    started,
)
from tests.benchmarks.speed.cases import Case, Sample, Wrong, sample
from tests.benchmarks.speed.machine import Others, described
from tests.benchmarks.speed.once import first_piece, idle_kb, start_s
from tests.benchmarks.speed.report import Row, Samples, rows_of, table


@dataclass(frozen=True, slots=True)
class Program:
    """A backend to measure, with a Redis of its own, or that of another one."""

    arguments: str
    stream: str = "OPENAI_STREAM"
    shares: str = ""


PROGRAMS = {
    "ours": Program("-m backend"),
    "own streams": Program("-m backend", stream="OPENAI_STREAM:{questionId}"),
    "one worker": Program("-m backend --workers 1"),
    "workers": Program("-m backend --workers 2"),
    "bystander": Program("-m backend --workers 0", shares="workers"),
    "floor": Program("-m tests.benchmarks.speed.floor"),
}
NOISY_CORES = 0.25  # beyond, figures of CPU time are not worth much


def cases(quick: bool) -> list[Case]:
    """All loads; shorter ones where it is to be quick."""
    tokens, long = (50, 2_000) if quick else (200, 20_000)
    crowd = Load(100 if quick else 500, 20 if quick else 50, 200)
    steady, burst = Load(50, tokens, 20), Load(20, 500 if quick else 2_000, 0)
    forty = Load(40, tokens, 20)
    return [
        Case("steady", "ours", steady, timed=True),
        Case("floor, steady", "floor", steady, timed=True),
        Case("own streams", "own streams", steady),
        Case("burst", "ours", burst),
        Case("floor, burst", "floor", burst),
        Case("forty", "ours", forty),
        Case("one worker", "one worker", forty),
        Case("workers", "workers", forty, beside="bystander"),
        Case("one user", "ours", Load(1, tokens, 20)),
        Case("ten users", "ours", Load(10, tokens, 20)),
        Case("hundred users", "ours", Load(100, tokens, 20)),
        Case("short", "ours", Load(5, 200, 1), times=5 if quick else 20),
        Case("long", "ours", Load(5, long, 1), every=2),
        Case("long, probed", "ours", Load(1, long, 1), probed=True, every=2),
        Case("questions", "ours", Load(100, 1, 0), times=1 if quick else 5),
        Case("crowd", "ours", crowd, timed=True),
        Case("crowd, workers", "workers", crowd, beside="bystander"),
    ]


async def _stacks(stack: AsyncExitStack, options: argparse.Namespace) -> dict[str, Stack]:
    """The backends to measure, ready."""
    port = options.endpoint_port or 0
    model_url = await stack.enter_async_context(fake_endpoint(port))
    if options.url:
        url = options.url.rstrip("/")
        stacks = {"ours": Stack(url, options.pid, options.redis_url, model_url)}
    else:
        stacks = {}
    for name, program in PROGRAMS.items():
        if name == "floor" or not options.url:
            redis_url = stacks[program.shares].redis_url if program.shares else None
            if redis_url is None:
                redis_url = await stack.enter_async_context(redis_server())
            arguments, stream = program.arguments.split(), program.stream
            running = started(arguments, redis_url, model_url, OPENAI_STREAM=stream)
            stacks[name] = await stack.enter_async_context(running)
    for backend in stacks.values():
        # The first question of a process pays for imports and connections: not our subject.
        await run(Load(1, 5, 1), backend.url, None, None)
    return stacks


async def _rounds(stacks: dict[str, Stack], options: argparse.Namespace) -> Samples:
    """Run every case in turn, again and again: what disturbs the machine disturbs all of them."""
    samples: defaultdict[str, list[Sample]] = defaultdict(list)
    for number in range(options.runs):
        for case in cases(options.quick):
            if case.backend in stacks and number % case.every == 0:
                _progress(f"round {number + 1} of {options.runs}: {case.name}")
                samples[case.name].append(await sample(case, stacks))
    return samples


async def _once(stacks: dict[str, Stack], options: argparse.Namespace) -> list[Row]:
    ours, runs = stacks["ours"], options.runs
    _progress("first pieces")
    firsts = [await first_piece(ours, 10 if options.quick else 50) for _ in range(runs)]
    rows = [
        Row("first piece, one user", [first.through_ms for first in firsts], "ms"),
        Row("  added to the bare SDK's", [first.added_ms for first in firsts], "ms", "5"),
    ]
    if ours.pid:
        _progress("idle sockets")
        sockets = 200 if options.quick else 2_000
        rows.append(Row("an idle socket: memory", [await idle_kb(ours, sockets)], "kB", "50"))
    if not options.url and ours.redis_url:
        _progress("starts")
        starts = [await start_s(ours.redis_url, ours.model_url) for _ in range(runs)]
        rows.append(Row("from the command to listening", starts, "s", "0.6"))
    return rows


async def _main(options: argparse.Namespace) -> None:
    others, began = Others(), time.perf_counter()
    async with AsyncExitStack() as stack:
        stacks = await _stacks(stack, options)
        once = await _once(stacks, options)
        samples = await _rounds(stacks, options)
        took_s = time.perf_counter() - began
        cores = others.cores(took_s)
    _progress("")
    print("\n".join(table([*rows_of(samples), *once])))
    print()
    print("\n".join(described()))
    print(f"{options.runs} rounds in {took_s:.0f} s; others used {cores:.2f} cores meanwhile")
    if cores > NOISY_CORES:
        print("The machine was not quiet: figures of CPU time and delay are too high.")


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.speed",
        description=this.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="one round, and less of everything")
    parser.add_argument("--runs", type=int, help="rounds; 5, or 1 with --quick")
    parser.add_argument("--url", help="a backend that runs already")
    parser.add_argument("--pid", type=int, help="its process, to measure CPU and memory")
    parser.add_argument("--redis-url", help="its Redis, to count commands")
    parser.add_argument("--endpoint-port", type=int, help="where it expects the fake model")
    options = parser.parse_args()
    options.runs = options.runs or (1 if options.quick else 5)
    raise_file_limit()
    try:
        asyncio.run(_main(options))
    except (DidNotStart, Wrong, OSError, aiohttp.ClientError, RedisError) as exc:
        print(f"not measured: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
