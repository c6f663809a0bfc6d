"""Many clients ask at the same moment; every byte of every answer is checked.

python -m tests.benchmarks.load --spawn --clients 100 --tokens 50 --interval-ms 50
    starts Redis, a fake model, and the backend, measures, and stops them all;
    what follows `--` goes to the backend: `-- --workers 2`

python -m tests.benchmarks.load --url http://127.0.0.1:3000 --pid 4711 --endpoint-port 8081
    measures a backend that runs with OPENAI_BASE_URL=http://127.0.0.1:8081/v1

Ends with 1 if one answer was not right.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack, nullcontext
from dataclasses import dataclass, field

import aiohttp
from redis.exceptions import RedisError

from tests.benchmarks.client import Answer, Client, Verdict, connected
from tests.benchmarks.gauges import ProcessCost, RedisCost, watch_process, watch_redis
from tests.benchmarks.programs import DidNotStart, fake_endpoint, raise_file_limit, whole_stack


@dataclass(frozen=True, slots=True)
class Load:
    """How many ask, and how the model answers them."""

    clients: int
    tokens: int
    interval_ms: float
    patience_s: float = 60

    def question(self, number: int) -> str:
        """The question of one client, with the directives that the fake model obeys."""
        return f"Load {number} [[tokens={self.tokens} interval_ms={self.interval_ms:g}]]"

    @property
    def all_tokens(self) -> int:
        """How many tokens the model sends in all."""
        return self.clients * self.tokens

    @property
    def timeout_s(self) -> float:
        """What the model needs for an answer, and patience on top."""
        return self.tokens * self.interval_ms / 1000 + self.patience_s


@dataclass(slots=True)
class Figures:
    """The outcome of a run."""

    load: Load
    verdicts: dict[Verdict, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    foreign_pieces: int = 0
    stray_pieces: int = 0
    pieces: int = 0
    first_piece_ms_p50: float | None = None
    first_piece_ms_p99: float | None = None
    answer_ms_p50: float | None = None
    answer_ms_p99: float | None = None
    wall_s: float = 0.0
    load_program_cpu_share: float = 0.0
    process: ProcessCost | None = None
    redis: RedisCost | None = None

    @property
    def all_right(self) -> bool:
        """Whether every client got its answer, all of it, and nothing else."""
        return self.verdicts.get("right", 0) == self.load.clients


async def measure(load: Load, url: str, pid: int | None, redis_url: str | None) -> Figures:
    """Run the load against a backend; the sockets are connected before the clock starts."""
    # The first question of a process pays for imports and connections: not our subject.
    await run(Load(1, 5, 1, load.patience_s), url, None, None)
    figures, _ = await run(load, url, pid, redis_url)
    return figures


async def run(
    load: Load, url: str, pid: int | None, redis_url: str | None
) -> tuple[Figures, list[Answer]]:
    """One run as it is, with no question before it: its figures, and the answers themselves."""
    async with AsyncExitStack() as stack:
        clients = await _connect(stack, load, url)
        async with (
            watch_process(pid) if pid else nullcontext() as process,
            watch_redis(redis_url) if redis_url else nullcontext() as redis,
        ):
            cpu_s, began = time.process_time(), time.perf_counter()
            await asyncio.gather(*(client.ask("Redis") for client in clients))
            await _all_ended(clients, load.timeout_s)
            wall_s = time.perf_counter() - began
            share = (time.process_time() - cpu_s) / wall_s
    answers = [client.answer for client in clients]
    figures = _judge(load, answers)
    figures.wall_s, figures.load_program_cpu_share = wall_s, share
    figures.process, figures.redis = process, redis
    return figures, answers


async def _connect(stack: AsyncExitStack, load: Load, url: str) -> list[Client]:
    http = await stack.enter_async_context(
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    )
    return [
        await stack.enter_async_context(connected(http, url, load.question(number), load.tokens))
        for number in range(load.clients)
    ]


async def _all_ended(clients: Sequence[Client], timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            for client in clients:
                await client.ended.wait()
    except TimeoutError:
        pass  # the verdict on the others is "hung"


def _judge(load: Load, answers: Sequence[Answer]) -> Figures:
    first_ms = [(a.first_at - a.asked_at) * 1000 for a in answers if a.first_at is not None]
    whole_ms = [(a.ended_at - a.asked_at) * 1000 for a in answers if a.ended_at is not None]
    return Figures(
        load,
        verdicts=dict(Counter(answer.verdict for answer in answers)),
        errors=dict(Counter(answer.error for answer in answers if answer.error)),
        foreign_pieces=sum(answer.foreign for answer in answers),
        stray_pieces=sum(answer.stray for answer in answers),
        pieces=sum(answer.pieces for answer in answers),
        first_piece_ms_p50=percentile(first_ms, 50),
        first_piece_ms_p99=percentile(first_ms, 99),
        answer_ms_p50=percentile(whole_ms, 50),
        answer_ms_p99=percentile(whole_ms, 99),
    )


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The smallest value that so many percent of the values do not exceed."""
    if not values:
        return None
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


def rows(figures: Figures) -> list[tuple[str, str]]:
    """The figures as lines of a table."""
    load, verdicts = figures.load, figures.verdicts
    names: list[Verdict] = ["right", "wrong", "failed", "hung"]
    table = [
        ("load", f"{load.clients} clients, {load.tokens} tokens, one each {load.interval_ms:g} ms"),
        ("answers", ", ".join(f"{verdicts.get(name, 0)} {name}" for name in names)),
        ("errors", ", ".join(f"{n} {code}" for code, n in figures.errors.items()) or "none"),
        ("foreign / stray pieces", f"{figures.foreign_pieces} / {figures.stray_pieces}"),
        ("first piece p50 / p99", _ms(figures.first_piece_ms_p50, figures.first_piece_ms_p99)),
        ("whole answer p50 / p99", _ms(figures.answer_ms_p50, figures.answer_ms_p99)),
        ("  the model alone", f"{(load.tokens - 1) * load.interval_ms:.0f} ms"),
        ("wall time", f"{figures.wall_s:.2f} s"),
        ("tokens per second", f"{load.all_tokens / figures.wall_s:.0f}"),
        ("pieces per second", f"{figures.pieces / figures.wall_s:.0f}"),
        ("pieces per token", f"{figures.pieces / load.all_tokens:.2f}"),
        ("CPU of this program", f"{figures.load_program_cpu_share:.0%} of a core"),
    ]
    if figures.process:
        table += _process_rows(figures.process, load.all_tokens, figures.wall_s)
    if figures.redis:
        table += _redis_rows(figures.redis, load.all_tokens)
    return table


def _process_rows(cost: ProcessCost, tokens: int, wall_s: float) -> list[tuple[str, str]]:
    return [
        ("server processes", f"{cost.processes}, {cost.cpu_s / wall_s:.0%} of a core"),
        ("server CPU per token", f"{cost.cpu_s / tokens * 1e6:.0f} us"),
        ("server memory", f"{cost.rss_before_mb:.0f} MB before, {cost.rss_peak_mb:.0f} MB at peak"),
    ]


def _redis_rows(cost: RedisCost, tokens: int) -> list[tuple[str, str]]:
    most = sorted(cost.commands.items(), key=lambda item: -item[1])[:6]
    return [
        (
            "Redis connections",
            f"{cost.connections_before} before, {cost.connections_peak} at peak",
        ),
        ("Redis CPU per token", f"{cost.cpu_s / tokens * 1e6:.0f} us"),
        ("Redis XADD per token", f"{cost.commands.get('xadd', 0) / tokens:.3f}"),
        ("Redis XREAD per token", f"{cost.commands.get('xread', 0) / tokens:.3f}"),
        ("Redis commands per token", f"{sum(cost.commands.values()) / tokens:.3f}"),
        ("  most frequent", ", ".join(f"{name} {calls}" for name, calls in most)),
    ]


def _ms(*values: float | None) -> str:
    return " / ".join("-" if value is None else f"{value:.0f}" for value in values) + " ms"


def _report(figures: Figures, as_json: bool) -> None:
    if as_json:
        print(json.dumps({**dataclasses.asdict(figures), "all_right": figures.all_right}))
        return
    for name, value in rows(figures):
        print(f"{name:<26}{value}")


async def _main(args: argparse.Namespace) -> bool:
    load = Load(args.clients, args.tokens, args.interval_ms, args.patience_s)
    async with AsyncExitStack() as stack:
        if args.spawn:
            backend = await stack.enter_async_context(whole_stack(args.backend, args.redis_url))
            figures = await measure(load, backend.url, backend.pid, backend.redis_url)
        else:
            if args.endpoint_port is not None:
                await stack.enter_async_context(fake_endpoint(args.endpoint_port))
            figures = await measure(load, args.url.rstrip("/"), args.pid, args.redis_url)
        _report(figures, args.json)
    return figures.all_right


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.load",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=50)
    parser.add_argument("--interval-ms", type=float, default=50)
    parser.add_argument("--patience-s", type=float, default=60, help="beyond the model's own time")
    parser.add_argument("--url", default="http://127.0.0.1:3000")
    parser.add_argument("--pid", type=int, help="process of the server, to measure CPU and memory")
    parser.add_argument("--redis-url", help="Redis of the server, to measure its commands")
    parser.add_argument("--endpoint-port", type=int, help="serve the fake model on this port")
    parser.add_argument("--spawn", action="store_true", help="start and stop all that is needed")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("backend", nargs="*", help="after --: arguments for the spawned backend")
    args = parser.parse_args()
    raise_file_limit()
    try:
        return 0 if asyncio.run(_main(args)) else 1
    except (DidNotStart, OSError, aiohttp.ClientError, RedisError) as exc:
        print(f"the load could not run: {exc}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
