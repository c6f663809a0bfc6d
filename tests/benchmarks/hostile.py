"""What honest people notice of hostile ones: the delay of pieces without and with them, in one run.

python -m tests.benchmarks.hostile --people 5 --loud 10 --silent 200

A piece's delay runs from its writing by the model to its receipt. The hostile ones are a
process of their own: silent connections, requests that come in byte by byte, and sockets
that send, at this rate each, invalid questions, guessed ids and packets that nobody
expects. Rounds without and with them take turns, so that a busy machine spoils both alike.
Ends with 1 if an answer was not whole, or the p99 has grown by more than --most.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import math
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator, Sequence

import aiohttp
import psutil  # type: ignore[import-untyped]  # it ships no types
from aiohttp import web

from tests.benchmarks.programs import (
    free_port,
    raise_file_limit,
    redis_server,
    running,
)
from tests.fakes.client import Answer, Client
from tests.hostile.wire import TEXT, Wire, event, frame, wired

PIECES = 100
INTERVAL_S = 0.02
SLOW_BYTES_PER_S = 2
PACKETS = (
    event("askQuestion", {"topic": "", "topicQuestion": 7}, 1),
    event("resumeQuestion", {"questionId": str(uuid.uuid4())}, 2),
    event("stopQuestion", {"questionId": str(uuid.uuid4())}, 3),
    event("nobody", ["x" * 500]),
    frame(TEXT, b"40/x,"),
    frame(TEXT, b"3"),
)


async def _say_the_time(request: web.Request) -> web.StreamResponse:
    """Answer as a model whose words are the times at which it says them, in nanoseconds."""
    await request.read()
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    began = time.monotonic()
    for number in range(PIECES):
        await asyncio.sleep(max(0.0, began + number * INTERVAL_S - time.monotonic()))
        await response.write(_event({"content": f"{time.monotonic_ns()} "}))
    await response.write(_event({}, "stop") + b"data: [DONE]\n\n")
    return response


def _event(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "clock"}
    return f"data: {json.dumps({**chunk, 'choices': [choice]})}\n\n".encode()


@contextlib.asynccontextmanager
async def _model() -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", _say_the_time)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


def _delays_ms(answer: Answer) -> list[float]:
    """The delay of each piece; several may have come as one."""
    return [
        arrived * 1e3 - int(said) / 1e6
        for text, arrived in zip(answer.pieces, answer.arrivals, strict=True)
        for said in text.split()
    ]


async def _round(url: str, people: int) -> list[float]:
    """The delays of all pieces of one question each."""
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        aiohttp.ClientSession(connector=connector) as http,
        contextlib.AsyncExitStack() as on,
    ):
        clients = [await on.enter_async_context(Client(http, url)) for _ in range(people)]
        answers = await asyncio.gather(*(each.ask(f"When? {uuid.uuid4()}") for each in clients))
        for answer in answers:
            await answer.ended(PIECES * INTERVAL_S + 30)
            if answer.status != "done" or len(_delays_ms(answer)) != PIECES:
                raise RuntimeError(f"not whole: {answer!r}")
        return [delay for answer in answers for delay in _delays_ms(answer)]


def _percentile(values: Sequence[float], percent: int) -> float:
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


async def _measure(args: argparse.Namespace) -> bool:
    async with contextlib.AsyncExitStack() as stack:
        port = free_port()
        environment = {
            "OPENAI_API_KEY": "test",
            "OPENAI_BASE_URL": await stack.enter_async_context(_model()),
            "REDIS_URL": await stack.enter_async_context(redis_server()),
            "HOST": "127.0.0.1",
            "PORT": str(port),
        }
        command = [sys.executable, "-m", "backend", *args.backend]
        backend = await stack.enter_async_context(running(command, environment))
        url = f"http://127.0.0.1:{port}"
        await _until_served(url)
        process = psutil.Process(backend.pid)
        alone, beside, rss_mb = [], [], process.memory_info().rss / 1e6
        peak_mb = rss_mb
        for _ in range(args.rounds):
            alone += await _round(url, args.people)
            async with _hostile_ones(port, args):
                beside += await _round(url, args.people)
                peak_mb = max(peak_mb, process.memory_info().rss / 1e6)
    return _report(args, alone, beside, (rss_mb, peak_mb))


async def _until_served(url: str) -> None:
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(aiohttp.ClientError, OSError, RuntimeError):
                await _round(url, 1)
                return
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def _hostile_ones(port: int, args: argparse.Namespace) -> AsyncIterator[None]:
    command = [
        sys.executable, "-m", "tests.benchmarks.hostile", "--attack", str(port),
        "--loud", str(args.loud), "--silent", str(args.silent), "--rate", str(args.rate),
    ]  # fmt: skip
    async with running(command, dict(os.environ)) as attackers:
        async with asyncio.timeout(30):
            while "\n" not in attackers.output():
                attackers.check()
                await asyncio.sleep(0.02)
        yield


async def _attack(port: int, args: argparse.Namespace) -> None:
    """Be hostile until ended."""
    async with contextlib.AsyncExitStack() as stack:
        silent = [await stack.enter_async_context(wired(port)) for _ in range(args.silent)]
        loud = [
            await (await stack.enter_async_context(wired(port))).join() for _ in range(args.loud)
        ]
        print("hostile", flush=True)
        await asyncio.gather(
            _trickle(silent[: args.silent // 5]), *(_shout(wire, args.rate) for wire in loud)
        )


async def _shout(wire: Wire, rate: float) -> None:
    for packet in itertools.cycle(PACKETS):
        await wire.send(packet)
        await asyncio.sleep(1 / rate)


async def _trickle(slow: Sequence[Wire]) -> None:
    while True:
        for wire in slow:
            await wire.send(b"\r\n")
        await asyncio.sleep(1 / SLOW_BYTES_PER_S)


def _report(
    args: argparse.Namespace,
    alone: list[float],
    beside: list[float],
    rss_mb: tuple[float, float],
) -> bool:
    print(
        f"{args.people} people, {args.rounds} rounds; hostile: {args.loud} sockets at "
        f"{args.rate:g}/s, {args.silent} silent connections, a fifth of them byte by byte"
    )
    ratios = {}
    for percent in (50, 99):
        without, with_them = _percentile(alone, percent), _percentile(beside, percent)
        ratios[percent] = with_them / without
        print(
            f"delay of a piece, p{percent}: {without:6.1f} ms alone, {with_them:6.1f} ms beside "
            f"them, {ratios[percent]:.2f} times"
        )
    print(f"memory of the server: {rss_mb[0]:.0f} MB before, {rss_mb[1]:.0f} MB at most")
    return bool(ratios[99] <= args.most)


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.hostile",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--people", type=int, default=5)
    parser.add_argument("--loud", type=int, default=10, help="sockets that send")
    parser.add_argument("--rate", type=float, default=10, help="packets a second, of each")
    parser.add_argument("--silent", type=int, default=200, help="connections that ask for nothing")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--most", type=float, default=1.5, help="how much the p99 may grow, times")
    parser.add_argument("--attack", type=int, help=argparse.SUPPRESS)
    parser.add_argument("backend", nargs="*", help="after --: arguments for the backend")
    args = parser.parse_args()
    raise_file_limit()
    if args.attack:
        asyncio.run(_attack(args.attack, args))
        return 0
    return 0 if asyncio.run(_measure(args)) else 1


if __name__ == "__main__":
    sys.exit(main())
