"""What resuming costs: one answer among many others, and a crowd that comes back at once.

`python -m tests.benchmarks.resume` starts all that it needs, and prints two tables:

one resume    of an answer that has ended, and of one in the middle, with more and more
              entries of others between its pieces
the crowd     clients whose server is killed and started again resume at once, while
              the other server goes on with the answers of other people

It ends with status 1 if a byte was wrong.
"""

import argparse
import asyncio
import dataclasses
import itertools
import json
import math
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
from redis.asyncio import Redis

from backend.protocol.entries import Ending, Entry
from backend.protocol.record import Record
from backend.protocol.requests import Ask, new_question_id
from backend.store.answer_log import log_key
from backend.store.connection import Storage, connect
from backend.store.records import Records
from tests.benchmarks.programs import fake_endpoint, free_port, raise_file_limit, redis_server
from tests.fakes.client import Answer, Client
from tests.fakes.openai_endpoint import answer_pieces, expected_answer
from tests.fakes.programs import ROOT, Program, program

STREAM = "OPENAI_STREAM"
PIECES = 200  # of an answer
INTERVAL_MS = 50  # between two of them
RETENTION_S = 3_600.0
FOREIGN = (0, 10_000, 100_000)
REPEATS = 5
PIPELINED = 5_000  # entries a round trip, when the stream is filled
ANSWERS, RUNNING = 50, 20  # answers that the crowd reads, and those that run on meanwhile
ENDLESS = 6_000  # pieces of those: five minutes
QUIET_S = 10.0  # the running answers are watched for so long before anything happens
PATIENCE_S = 180.0
EVERYBODYS = {"XREAD", "XREVRANGE", "CLIENT", "HELLO", "SELECT"}  # what the server sends anyway


# One resume


@dataclasses.dataclass(frozen=True, slots=True)
class Cost:
    """What one resume took."""

    ms: float
    commands: Counter[str]
    entries: int
    right: bool


class Scene:
    """A stream with two answers in it, one ended and one in the middle, among foreign entries.

    The entries carry the times that they would have, had the answers been written
    at the model's pace and ended just now.
    """

    def __init__(self, storage: Storage, foreign: int) -> None:
        self._redis = storage.commands
        self._questions = Records(storage, RETENTION_S)
        self._foreign = foreign
        self._ms = time.time_ns() // 1_000_000 - 5 * PIECES * INTERVAL_MS

    async def answer(self, pieces: int, *, ended: bool) -> tuple[Record, str]:
        """Write an answer of so many pieces; returns its record and its text."""
        ask = Ask(new_question_id(), "Redis", f"Who resumes {new_question_id()}?")
        texts = answer_pieces(ask.question, pieces)
        entries = [Entry.start(ask.question_id, 1)]
        entries += [Entry(ask.question_id, text, 1, n) for n, text in enumerate(texts, 1)]
        if ended:
            entries.append(Entry.end(ask.question_id, 1, pieces + 1, Ending("done")))
        cursor = f"{self._ms}-0"
        entries = await self._write(entries)
        record = Record.queued(ask, STREAM, cursor, "token").begun("worker", None)
        if ended:
            record = record.closed("worker", Ending("done"), entries[0].id, entries[-1].id)
        await self._questions.create(record, ("SET", "no-job", "is queued"))
        return record, "".join(texts)

    async def _write(self, entries: list[Entry]) -> list[Entry]:
        """Write these with the foreign ones spread evenly between them; returns them with ids."""
        gaps = len(entries) - 1
        written, rows = [], []
        for number, entry in enumerate(entries):
            self._ms += INTERVAL_MS
            written.append(dataclasses.replace(entry, id=f"{self._ms}-0"))
            rows.append((written[-1].id, entry.fields()))
            await self._redis.xadd(log_key(STREAM, entry.question_id), *rows[-1][::-1])
            if number < gaps:
                first, last = (self._foreign * n // gaps for n in (number, number + 1))
                rows += [(f"{self._ms}-{n}", _foreign(n).fields())
                         for n in range(1, last - first + 1)]  # fmt: skip
        for begin in range(0, len(rows), PIPELINED):
            async with self._redis.pipeline(transaction=False) as pipe:
                for entry_id, fields in rows[begin : begin + PIPELINED]:
                    pipe.xadd(STREAM, fields, id=entry_id)
                await pipe.execute()
        return written


def _foreign(number: int) -> Entry:
    return Entry(f"somebody-elses-{number % 50}", "a piece of another answer ", 1, number)


async def one_resume(redis: Any, http: aiohttp.ClientSession, url: str, record: Record,
                     text: str) -> Cost:  # fmt: skip
    """Resume some times for the time it takes, and once more for what is read from Redis."""
    outcomes = [await _resume(http, url, record, text) for _ in range(REPEATS)]
    commands: list[str] = []
    async with redis.monitor() as monitor:
        outcomes.append(await _resume(http, url, record, text))
        await redis.echo("that was it")
        while "that was it" not in (command := (await monitor.next_command())["command"]):
            commands.append(command)
    own = [words for each in commands if (words := each.split())[0] not in EVERYBODYS]
    reads = [len(await redis.execute_command(*words)) for words in own if words[0] == "XRANGE"]
    return Cost(
        statistics.median(ms for ms, _ in outcomes[:REPEATS]),
        Counter(words[0] for words in own),
        sum(reads),
        all(right for _, right in outcomes),
    )


async def _resume(
    http: aiohttp.ClientSession, url: str, record: Record, text: str
) -> tuple[float, bool]:
    async with Client(http, url) as client:
        began = time.perf_counter()
        answer = await client.resume(record.question_id, question=record.question)
        if record.ended:
            await answer.ended(PATIENCE_S)
        else:
            await answer.wait(lambda: len(answer.text) >= len(text), "all that stands", PATIENCE_S)
        return (time.perf_counter() - began) * 1_000, answer.text == text and not _odd(answer)


async def measure_one(http: aiohttp.ClientSession) -> bool:
    """Print the first table; returns whether all was right."""
    print(f"one resume of an answer of {PIECES} pieces (or {PIECES // 2} in the middle)\n")
    print(f"{'foreign':>9} {'answer':<9}{'ms':>8}{'commands':>10}{'entries read':>14}")
    all_right = True
    for foreign in FOREIGN:
        async with redis_server() as redis_url, connect(redis_url) as storage:
            scene = Scene(storage, foreign)
            answers = [
                ("ended", await scene.answer(PIECES, ended=True)),
                ("running", await scene.answer(PIECES // 2, ended=False)),
            ]
            async with (
                program("--workers", "0", HOST="127.0.0.1", REDIS_URL=redis_url) as server,
                Redis.from_url(redis_url, decode_responses=True, protocol=2) as redis,
            ):
                await server.ready()
                for name, (record, text) in answers:
                    cost = await one_resume(redis, http, server.url, record, text)
                    all_right &= cost.right
                    print(_row(foreign, name, cost))
    return all_right


def _row(foreign: int, name: str, cost: Cost) -> str:
    commands = ", ".join(f"{n} {command}" for command, n in sorted(cost.commands.items()))
    return (
        f"{foreign:>9,} {name:<9}{cost.ms:>8.1f}"
        f"{cost.commands.total():>10}{cost.entries:>14,}"
        f"   {commands}{'' if cost.right else '   WRONG'}"
    )


# The crowd


@dataclasses.dataclass(frozen=True, slots=True)
class Watched:
    """What became of the answers that ran on: the times of their pieces, and whether all is right.

    Watched by a process of its own, as this one is busy with the crowd.
    """

    arrivals: list[list[float]]
    right: bool

    def largest_gap_s(self, begin: float, end: float) -> float:
        """The longest time between two pieces of an answer, of which one came in this time."""
        pairs = itertools.chain.from_iterable(map(itertools.pairwise, self.arrivals))
        gaps = (later - earlier for earlier, later in pairs if later > begin and earlier < end)
        return max(gaps, default=math.inf)


class Watch:
    """Answers that run on at a server until the crowd is served."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def running(self) -> None:
        """Wait until all of them run."""
        assert self._process.stdout
        async with asyncio.timeout(PATIENCE_S):
            assert await self._process.stdout.readline() == b"running\n"

    async def outcome(self) -> Watched:
        """Watch no more."""
        async with asyncio.timeout(PATIENCE_S):
            output, _ = await self._process.communicate(b"")
        return Watched(**json.loads(output))


@asynccontextmanager
async def watch(url: str) -> AsyncIterator[Watch]:
    """Have answers run on at this server."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.benchmarks.resume", "--watch", url, cwd=ROOT,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**24,
    )  # fmt: skip
    try:
        yield Watch(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def be_watch(url: str) -> None:
    """Be the process that watches, until standard input ends."""
    questions = [_question(f"Who goes on {n}?", ENDLESS, INTERVAL_MS) for n in range(RUNNING)]
    async with aiohttp.ClientSession() as http, Client(http, url) as client:
        answers = [await client.ask(question) for question in questions]
        await asyncio.gather(*(answer.received(5) for answer in answers))
        print("running", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        right = all(
            answer.open
            and not _odd(answer)
            and expected_answer(answer.question, ENDLESS).startswith(answer.text)
            for answer in answers
        )
        watched = Watched([answer.arrivals for answer in answers], right)
        await asyncio.gather(*(client.stop(answer.question_id) for answer in answers))
    print(json.dumps(dataclasses.asdict(watched)))


async def measure_crowd(http: aiohttp.ClientSession, size: int) -> bool:
    """Print the second table; returns whether all was right."""
    async with AsyncExitStack() as stack:
        env = {
            "REDIS_URL": await stack.enter_async_context(redis_server()),
            "OPENAI_BASE_URL": await stack.enter_async_context(fake_endpoint()),
            "OPENAI_API_KEY": "test",
            "HOST": "127.0.0.1",
        }
        dying, staying = [await _server(stack, env, free_port()) for _ in range(2)]
        await stack.enter_async_context(program("worker", **env))
        known = await read_some(http, staying.url)
        crowd = await come_back_later(stack, http, dying.url, known, size)
        others = await stack.enter_async_context(watch(staying.url))
        await others.running()
        quiet_at = time.monotonic()
        await asyncio.sleep(QUIET_S)
        killed_at, cpu_s = time.monotonic(), time.process_time()
        dying.process.kill()
        await dying.ended()
        await _server(stack, env, dying.port)
        ready_at = time.monotonic()
        ended_at = await asyncio.gather(*map(_ended_at, crowd))
        whole_at = time.monotonic()
        share = (time.process_time() - cpu_s) / (whole_at - killed_at)
        watched = await others.outcome()
    hung = ended_at.count(math.inf)
    wrong = sum(map(_is_wrong, crowd))
    median_s, last_s = statistics.median(ended_at) - ready_at, max(ended_at) - ready_at
    rows = [
        ("clients that resume", f"{size:,}, {len(known)} answers of {PIECES} pieces"),
        ("wrong / never whole", f"{wrong - hung} / {hung}"),
        ("pieces that they lacked", f"{sum(len(answer.arrivals) for answer in crowd):,}"),
        ("server down", f"{ready_at - killed_at:.1f} s"),
        ("whole after it is back", f"median {median_s:.1f} s, last {last_s:.1f} s"),
        ("CPU of this program", f"{share:.0%} of a core"),
        ("answers that run on", f"{RUNNING}, {'right' if watched.right else 'WRONG'}"),
        ("  largest gap, before", f"{watched.largest_gap_s(quiet_at, killed_at) * 1000:.0f} ms"),
        ("  server is down", f"{watched.largest_gap_s(killed_at, ready_at) * 1000:.0f} ms"),
        ("  the crowd resumes", f"{watched.largest_gap_s(ready_at, whole_at) * 1000:.0f} ms"),
    ]
    print("\na crowd comes back\n")
    for name, value in rows:
        print(f"{name:<26}{value}")
    return not wrong and watched.right


async def read_some(http: aiohttp.ClientSession, url: str) -> list[Answer]:
    """Ask questions, and read the answers to their ends."""
    async with Client(http, url) as client:
        questions = [_question(f"Who comes back {n}?", PIECES, INTERVAL_MS) for n in range(ANSWERS)]
        answers = [await client.ask(question) for question in questions]
        return await asyncio.gather(*(answer.ended(PATIENCE_S) for answer in answers))


async def come_back_later(
    stack: AsyncExitStack, http: aiohttp.ClientSession, url: str, known: list[Answer], size: int
) -> list[Answer]:
    """Connect clients that are somewhere in an answer, and resume it when they reconnect."""
    draw = random.Random(1)
    crowd = []
    for whole in itertools.islice(itertools.cycle(known), size):
        client = await stack.enter_async_context(Client(http, url))
        answer = Answer(whole.question_id, whole.question, accepted=True)
        count = draw.randrange(len(whole.metas))  # the END is still to come
        for text, meta in zip(["", *whole.pieces], whole.metas[:count], strict=False):
            answer.take(text, meta)
        answer.arrivals.clear()  # of those that come back
        client.answers[whole.question_id] = answer
        crowd.append(answer)
    return crowd


async def _server(stack: AsyncExitStack, env: dict[str, str], port: int) -> Program:
    server = await stack.enter_async_context(program("--workers", "0", **env, PORT=str(port)))
    await server.ready()
    return server


async def _ended_at(answer: Answer) -> float:
    """Wait for an END; returns when it came."""
    try:
        await answer.ended(PATIENCE_S)
    except TimeoutError:
        return math.inf
    return time.monotonic()


def _is_wrong(answer: Answer) -> bool:
    """Whether it is not, byte for byte, the whole answer."""
    whole = expected_answer(answer.question, PIECES)
    return answer.status != "done" or answer.text != whole or _odd(answer)


def _question(words: str, tokens: int, interval_ms: int) -> str:
    return f"{words} [[tokens={tokens} interval_ms={interval_ms}]]"


def _odd(answer: Answer) -> bool:
    """Whether something came that should never come."""
    odd: Any = answer.holes or answer.doubled or answer.stale or answer.foreign or answer.ends > 1
    return bool(odd)


async def run(size: int, parts: set[str]) -> bool:
    """Measure; returns whether all was right."""
    right = True
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        if "one" in parts:
            right &= await measure_one(http)
        if "crowd" in parts:
            right &= await measure_crowd(http, size)
    return right


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.resume",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--clients", type=int, default=1_000)
    parser.add_argument("--only", choices=["one", "crowd"])
    parser.add_argument("--watch", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    raise_file_limit()
    if options.watch:
        asyncio.run(be_watch(options.watch))
        return 0
    parts = {options.only} if options.only else {"one", "crowd"}
    return 0 if asyncio.run(run(options.clients, parts)) else 1


if __name__ == "__main__":
    sys.exit(main())
