"""People ask while servers, workers and Redis are killed, frozen and restarted at random.

`python -m tests.benchmarks.chaos --minutes 10 --people 20 --seed 1` starts a
redis-server, a fake model, two servers and three workers, breaks one of them
every few seconds, and checks every answer byte for byte, and once more by a late reader
on the other server. It ends with status 1 if an answer was wrong, had more than one END,
or never ended. The seed decides the faults, not how the machine runs them.
"""

import argparse
import asyncio
import contextlib
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp
from redis.asyncio import Redis

from backend.store import work_queue
from tests.fakes.client import Answer, Client, Lost, Refused
from tests.fakes.openai_endpoint import OpenAIEndpoint, expected_answer
from tests.fakes.programs import TESTS, Program, RedisServer, free_port, program

HUNG_S = 90.0  # an answer that has not ended by then never will
SETTLE_S = 30.0  # after the last fault, for what is still in the queue
PAUSE_S = (2.0, 5.0)  # between two faults
DOWN_S = (0.5, 6.0)  # how long a frozen or restarted part is away
WORKERS, SERVERS = 3, 2
ENV = {"LEASE_S": "3", "MAX_ATTEMPTS": "20", "SHUTDOWN_GRACE_S": "2", "OPENAI_API_KEY": "test"}


class Slot:
    """A place for a process: whenever it ends, for whatever reason, the next one is started."""

    def __init__(self, name: str, *arguments: str, **env: str) -> None:
        self.name = name
        self.running: Program | None = None
        self.log: list[str] = []
        self._arguments, self._env = arguments, env

    async def keep(self) -> None:
        """Keep it running until cancelled."""
        while True:
            async with program(*self._arguments, directory=TESTS, **self._env) as self.running:
                try:
                    await self.running.process.wait()
                finally:
                    self.log.append(self.running.log)
                    self.running = None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process that runs now, if there is one."""
        if self.running and self.running.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.running.signal(number)


class Stage:
    """All that runs, and the ways to break it."""

    def __init__(self, redis: RedisServer, model_url: str, draw: random.Random) -> None:
        env = {**ENV, "REDIS_URL": redis.url, "OPENAI_BASE_URL": model_url, "HOST": "127.0.0.1"}
        ports = [str(free_port()) for _ in range(SERVERS)]
        self.redis = redis
        self.urls = [f"http://127.0.0.1:{port}" for port in ports]
        self.servers = [
            Slot(f"server {n}", "--workers", "0", **env, PORT=port) for n, port in enumerate(ports)
        ]
        self.workers = [Slot(f"worker {n}", "worker", **env) for n in range(WORKERS)]
        self.faults: Counter[str] = Counter()
        self._draw = draw

    async def break_something(self) -> None:
        """Break one part, and see to it that it comes back."""
        down_s = self._draw.uniform(*DOWN_S)
        faults: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "worker killed": lambda: self._signal(self.workers, signal.SIGKILL),
            "worker terminated": lambda: self._signal(self.workers, signal.SIGTERM),
            "worker frozen": lambda: self._freeze(self.workers, down_s),
            "server killed": lambda: self._signal(self.servers, signal.SIGKILL),
            "server terminated": lambda: self._signal(self.servers, signal.SIGTERM),
            "server frozen": lambda: self._freeze(self.servers, down_s),
            "redis killed": lambda: self._restart_redis(down_s),
            "redis frozen": lambda: self._freeze_redis(down_s),
        }
        name = self._draw.choice(sorted(faults))
        self.faults[name] += 1
        await faults[name]()

    async def _signal(self, slots: list[Slot], number: signal.Signals) -> None:
        self._draw.choice(slots).send(number)

    async def _freeze(self, slots: list[Slot], down_s: float) -> None:
        slot = self._draw.choice(slots)
        slot.send(signal.SIGSTOP)
        try:
            await asyncio.sleep(down_s)
        finally:
            slot.send(signal.SIGCONT)

    async def _restart_redis(self, down_s: float) -> None:
        self.redis.kill()
        try:
            await asyncio.sleep(down_s)
        finally:
            await asyncio.to_thread(self.redis.start)

    async def _freeze_redis(self, down_s: float) -> None:
        self.redis.pause()
        try:
            await asyncio.sleep(down_s)
        finally:
            self.redis.go_on()


class Tally:
    """What became of the questions."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.worst_s = 0.0
        self.problems: list[str] = []

    def problem(self, kind: str, answer: Answer) -> None:
        """Count something that must never be."""
        self.counts[kind] += 1
        self.problems.append(f"{kind}: {answer!r}")

    def check(self, answer: Answer, tokens: int, who: str) -> None:
        """Hold an answer that has ended against what the model said."""
        if answer.status == "done" and answer.text != expected_answer(answer.question, tokens):
            self.problem(f"wrong bytes ({who})", answer)
        if answer.foreign:
            self.problem(f"foreign pieces ({who})", answer)
        if answer.ends != 1:
            self.problem(f"ENDs other than one ({who})", answer)
        if answer.holes:
            self.problem(f"holes ({who})", answer)


async def person(
    name: int, stage: Stage, tally: Tally, http: aiohttp.ClientSession, until: float, seed: int
) -> None:
    """Ask one question after the other, and read each answer to its end."""
    draw = random.Random(f"{seed}/{name}")
    urls = stage.urls if name % 2 else stage.urls[::-1]
    async with Client(http, *urls) as client, Client(http, *urls[::-1]) as late:
        for turn in range(1_000_000):
            if time.monotonic() > until:
                return
            tokens, interval_ms = draw.randint(5, 200), draw.randint(2, 30)
            question = f"{name}/{turn}? [[tokens={tokens} interval_ms={interval_ms}]]"
            try:
                answer = await client.ask(question)
            except (Refused, Lost, TimeoutError) as exc:
                tally.counts[f"refused ({getattr(exc, 'code', type(exc).__name__)})"] += 1
                await asyncio.sleep(0.2)
                continue
            asked_at = time.monotonic()
            tally.counts["accepted"] += 1
            try:
                await answer.ended(HUNG_S)
            except TimeoutError:
                tally.problem("hung", answer)
                continue
            tally.worst_s = max(tally.worst_s, time.monotonic() - asked_at)
            code = f" ({answer.error['code']})" if answer.error else ""
            tally.counts[f"ended: {answer.status}{code}"] += 1
            tally.counts["began anew"] += answer.attempt > 1
            tally.check(answer, tokens, "live")
            with contextlib.suppress(Refused, Lost, TimeoutError):  # read while Redis is away
                again = await late.resume(answer.question_id, question=question)
                await again.ended(HUNG_S)
                tally.counts["read again"] += 1
                tally.check(again, tokens, "late")
                if answer.status == "done" and again.text != answer.text:
                    tally.problem("two readers, two answers", again)


async def left_behind(redis_url: str) -> dict[str, int]:
    """What stands in the queue, in the end: nothing should."""
    async with Redis.from_url(redis_url, decode_responses=True) as redis:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                while await redis.xlen(work_queue.QUEUE_STREAM):
                    await asyncio.sleep(0.2)
        pending = await redis.xpending(work_queue.QUEUE_STREAM, work_queue.QUEUE_GROUP)
        return {"queued": await redis.xlen(work_queue.QUEUE_STREAM), "pending": pending["pending"]}


async def chaos(options: argparse.Namespace, directory: Path) -> bool:
    """Run it all; returns whether every promise was kept."""
    draw = random.Random(options.seed)
    tally = Tally()
    redis = RedisServer(directory)
    await asyncio.to_thread(redis.start)
    try:
        async with OpenAIEndpoint() as model, aiohttp.ClientSession() as http:
            stage = Stage(redis, model.url, draw)
            slots = [*stage.servers, *stage.workers]
            keepers = [asyncio.create_task(slot.keep()) for slot in slots]
            until = time.monotonic() + 60 * options.minutes
            people = [
                asyncio.create_task(person(n, stage, tally, http, until, options.seed))
                for n in range(options.people)
            ]
            while time.monotonic() < until:
                await asyncio.sleep(draw.uniform(*PAUSE_S))
                await stage.break_something()
            results = await asyncio.gather(*people, return_exceptions=True)
            left = await left_behind(redis.url)
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)
    finally:
        redis.kill()
    faults = [repr(result) for result in results if isinstance(result, BaseException)]
    report(stage, tally, left, faults)
    return not tally.problems and not any(left.values()) and not faults


def report(stage: Stage, tally: Tally, left: dict[str, int], faults: list[str]) -> None:
    """Print the figures."""
    never = ("wrong bytes", "foreign pieces", "ENDs other than one", "holes", "two readers", "hung")
    for name, count in sorted(stage.faults.items()):
        print(f"{name:<34}{count:>8}")
    print()
    for name, count in sorted(tally.counts.items()):
        if not name.startswith(never):
            print(f"{name:<34}{count:>8}")
    print(f"{'slowest answer, seconds':<34}{tally.worst_s:>8.1f}")
    print()
    for kind in never:
        count = sum(n for name, n in tally.counts.items() if name.startswith(kind))
        print(f"{kind:<34}{count:>8}")
    for name, count in left.items():
        print(f"{'left ' + name:<34}{count:>8}")
    for line in [*tally.problems[:20], *faults[:5]]:
        print(line)
    log = "".join(line for slot in [*stage.servers, *stage.workers] for line in slot.log)
    for line in log.splitlines():
        if "Traceback" in line or "never retrieved" in line or " ERROR " in line:
            print(f"log: {line}")


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        sys.exit(0 if asyncio.run(chaos(options, Path(directory))) else 1)


if __name__ == "__main__":
    main()
