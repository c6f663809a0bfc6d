"""Servers, workers, a Redis and a model to break, and the people who must not notice."""

import asyncio
import contextlib
import itertools
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import psutil  # type: ignore[import-untyped]  # it ships no types
import pytest
from redis.asyncio import Redis

from backend.protocol.entries import Entry
from backend.protocol.transcript import Transcript
from backend.store.work_queue import QUEUE_GROUP, QUEUE_STREAM
from tests.fakes.client import PATIENCE_S, Answer, Client
from tests.fakes.openai_endpoint import OpenAIEndpoint, Script
from tests.fakes.programs import Program, RedisServer, program

LEASE_S = 2.0  # shorter than by default, so that takeovers need not be waited for
LONG_LEASE_S = 5.0  # where no pause of a busy machine may be taken for a death
LOOK_AGAIN_S = 0.02  # Redis and processes tell nobody when they change, so we look

# For what is about processes and leases, or about the model: how entries are read changes nothing.
ONE_MODE = pytest.mark.parametrize("use_xread", ["xread"], indirect=True, scope="module")

SETTINGS = {
    "OPENAI_API_KEY": "sk-of-the-fault-tests",
    "HOST": "127.0.0.1",
    "LEASE_S": str(LEASE_S),
    "SHUTDOWN_GRACE_S": "0",
    "MODEL_RETRIES": "0",
    "ASKS_PER_MINUTE": "0",  # everybody comes from one address
}


class Stack:
    """Our programs around one Redis and one model, as many of each as a test wants.

    A program that was killed or frozen is no longer counted, and replaced by
    the next `have`. `redis_url` may lead through a proxy.
    """

    def __init__(self, redis: RedisServer, model: OpenAIEndpoint, **settings: str) -> None:
        self.redis = redis
        self.model = model
        self.redis_url = redis.url
        self.servers: list[Program] = []
        self.workers: list[Program] = []
        self.people: list[Client] = []
        # Its annotations cover bytes, RESP2 and RESP3 at once; its replies here are text.
        self.store: Any = Redis.from_url(redis.url, decode_responses=True)
        self._settings = settings
        self._started: list[Program] = []
        self._servers: list[Program] = []
        self._exits = AsyncExitStack()

    async def __aenter__(self) -> "Stack":
        connector = aiohttp.TCPConnector(limit=0)
        self.http = await self._exits.enter_async_context(
            aiohttp.ClientSession(connector=connector)
        )
        await self._exits.enter_async_context(self.store)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for each in self._started:
            kill(each)
        await self._exits.aclose()

    async def start(self, *arguments: str, **settings: str) -> Program:
        """Start a program; it is killed in the end."""
        env = {
            **SETTINGS,
            "REDIS_URL": self.redis_url,
            "OPENAI_BASE_URL": self.model.url,
            **self._settings,
            **settings,
        }
        started = await self._exits.enter_async_context(program(*arguments, **env))
        self._started.append(started)
        return started

    async def server(self, **settings: str) -> Program:
        """Start a server whose workers are elsewhere; returns it once it is ready."""
        started = await self.start("--workers", "0", **settings)
        await started.ready()
        self.servers.append(started)
        self._servers.append(started)
        return started

    async def worker(self, **settings: str) -> Program:
        """Start a worker; returns it once it waits for questions."""
        started = await self.start("worker", **settings)
        await self.takes_questions(started)
        self.workers.append(started)
        return started

    async def takes_questions(self, worker: Program) -> None:
        """Wait until a worker waits for work: one connection for commands, one for each stream."""
        process = psutil.Process(worker.process.pid)
        port = urlsplit(self.redis_url).port

        async def connected() -> bool:
            connections = process.net_connections("tcp4")
            ours = [each for each in connections if each.raddr and each.raddr.port == port]
            return len(ours) >= 3

        await until(connected)

    async def have(self, *, servers: int, workers: int) -> None:
        """Start or kill programs until there are exactly so many, all ready."""
        for alive, wanted in ((self.servers, servers), (self.workers, workers)):
            alive[:] = [each for each in alive if each.process.returncode is None]
            while len(alive) > wanted:
                await self.kill(alive[-1])
        missing = [self.server() for _ in range(servers - len(self.servers))]
        missing += [self.worker() for _ in range(workers - len(self.workers))]
        await asyncio.gather(*missing)

    async def kill(self, victim: Program) -> None:
        """End a program as a power cut would; on return it is gone."""
        self.lose(victim)
        kill(victim)
        await victim.ended()

    def terminate(self, leaving: Program) -> None:
        """Ask a program to end, as a deploy does."""
        self.lose(leaving)
        leaving.signal(signal.SIGTERM)

    def children(self, parent: Program) -> list[psutil.Process]:
        """The processes that a program has started."""
        children: list[psutil.Process] = psutil.Process(parent.process.pid).children()
        return children

    async def gone(self, processes: list[psutil.Process]) -> None:
        """Wait until these processes have ended, however they did."""

        async def ended() -> bool:
            return not any(map(_lives, processes))

        await until(ended)

    def freeze(self, victim: Program) -> None:
        """Stop a program in the middle of whatever it does. It counts as gone."""
        self.lose(victim)
        victim.signal(signal.SIGSTOP)

    def thaw(self, victim: Program) -> None:
        """Let a frozen program go on. It counts as one that is there."""
        victim.signal(signal.SIGCONT)
        self._kind(victim).append(victim)

    def lose(self, victim: Program) -> None:
        """Count a program no longer among those that are there."""
        kind = self._kind(victim)
        if victim in kind:
            kind.remove(victim)

    def _kind(self, program: Program) -> list[Program]:
        return self.servers if program in self._servers else self.workers

    async def person(self, *servers: Program, user_id: str | None = None) -> Client:
        """Somebody with a tab, connected to the first of these servers, or of all there are."""
        urls = [each.url for each in servers or self.servers]
        client = await self._exits.enter_async_context(Client(self.http, *urls, user_id=user_id))
        self.people.append(client)
        return client

    async def busy_worker(self, answer: Answer) -> Program:
        """The worker that has the question of this answer in work."""
        return await self.worker_with(answer.question_id)

    async def worker_with(self, question_id: str) -> Program:
        """The worker that the queue says has this question."""
        pid = ""

        async def found() -> bool:
            nonlocal pid
            pid = await self._pid_with(question_id)
            return bool(pid)

        await until(found)
        return next(each for each in self._started if str(each.process.pid) == pid)

    async def _pid_with(self, question_id: str) -> str:
        for entry_id, fields in await self.store.xrange(QUEUE_STREAM):
            if fields["questionId"] == question_id:
                pending = await self.store.xpending_range(
                    QUEUE_STREAM, QUEUE_GROUP, entry_id, entry_id, 1
                )
                return _pid(pending[0]["consumer"]) if pending else ""
        return ""

    async def unqueue(self, answer: Answer) -> None:
        """Take a question off the queue, for the test to play its worker."""
        for entry_id, fields in await self.store.xrange(QUEUE_STREAM):
            if fields["questionId"] == answer.question_id:
                await self.store.xdel(QUEUE_STREAM, entry_id)

    async def record(self, answer: Answer) -> dict[str, Any]:
        """What stands in Redis about a question."""
        raw = await self.store.get(f"questions:{answer.question_id}")
        assert raw
        record: dict[str, Any] = json.loads(raw)
        return record

    async def stream(self, answer: Answer) -> str:
        """The stream that an answer is written to; the shared one where that is not known."""
        raw = await self.store.get(f"questions:{answer.question_id}")
        return str(json.loads(raw)["streamName"]) if raw else "OPENAI_STREAM"

    async def pending(self, answer: Answer) -> list[str]:
        """The entries of an answer that its user has not received, as the group has it."""
        stream = await self.stream(answer)
        base, _, user_id = stream.partition(":")
        if self._settings.get("USE_XREAD") != "false" or not user_id:
            return []
        if not await self.store.exists(stream):
            return []
        group = f"{base}_Grp_{user_id}"
        pending = await self.store.xpending_range(stream, group, min="-", max="+", count=100_000)
        ids = {entry["message_id"] for entry in pending}
        if not ids:
            return []
        return [entry.id for entry in await self.entries(answer) if entry.id in ids]

    async def received(self, answer: Answer) -> None:
        """Wait until nothing of an answer is pending: Redis knows that its user has all of it."""

        async def nothing_pending() -> bool:
            return not await self.pending(answer)

        await until(nothing_pending)

    async def settled(self, answer: Answer) -> dict[str, Any]:
        """The record of an answer once it says that the answer has ended, which follows the END."""
        record: dict[str, Any] = {}

        async def ended() -> bool:
            nonlocal record
            record = await self.record(answer)
            return record["status"] not in ("queued", "running")

        await until(ended)
        return record

    async def entries(self, answer: Answer) -> list[Entry]:
        """Everything that stands in the stream for a question, stale entries included."""
        rows = await self.store.xrange(await self.stream(answer))
        parsed = [Entry.parse(entry_id, fields) for entry_id, fields in rows]
        return [entry for entry in parsed if entry and entry.question_id == answer.question_id]

    async def stored(self, answer: Answer) -> Transcript:
        """What the stream says about a question, by the fold that every reader uses."""
        transcript = Transcript()
        for entry in await self.entries(answer):
            transcript.add(entry)
        return transcript

    def expected(self, answer: Answer) -> str:
        """The whole answer that has to come."""
        return self.model.answer_to(answer.question)

    async def whole(self, *answers: Answer, timeout_s: float = PATIENCE_S) -> None:
        """Wait for these answers; every byte is there, and one END."""
        for answer in answers:
            await answer.ended(timeout_s)
            assert (answer.status, answer.error) == ("done", None)
            assert answer.text == self.expected(answer)
            assert answer.ends == 1
            await self.received(answer)

    async def partial(self, answer: Answer, status: str, code: str | None = None) -> None:
        """Wait for the END of an answer that was cut short: what there is, is right, and kept."""
        await answer.ended()
        assert (answer.status, (answer.error or {}).get("code")) == (status, code)
        assert answer.ends == 1
        assert self.expected(answer).startswith(answer.text)
        assert answer.text != self.expected(answer)
        assert (await self.stored(answer)).text == answer.text
        await self.received(answer)

    async def late_reader(self, answer: Answer, server: Program | None = None) -> Answer:
        """Somebody else reads the same answer from its start, now."""
        client = await self.person(*([server] if server else []))
        return await client.resume(answer.question_id, question=answer.question)

    def nothing_odd(self) -> None:
        """What must not have happened to anybody, whatever broke."""
        for client in self.people:
            assert client.strays == [], "pieces of somebody else's answer"
            for answer in client.answers.values():
                assert answer.holes == 0, answer
                assert answer.foreign == 0, answer
                assert answer.ends <= 1, answer
                assert answer.stale == 0, answer
                assert answer.doubled == 0 or answer.replayed, answer
                if answer.question:
                    assert self.expected(answer).startswith(answer.text), answer
        for each in self._started:
            assert not _has_traceback(each), each.log[-3000:]

    async def fresh(self) -> None:
        """Forget the people of the last test, and what programs have printed."""
        self.people.clear()
        for each in self._started:
            each.output.clear()


def _has_traceback(each: Program) -> bool:
    """Whether a program has printed one, not counting what is ignored at its very end.

    redis-py leaves a connection to the interpreter if it is cancelled while
    Redis is silent; only `-W error` makes that visible.
    """
    return any(
        line.startswith("Traceback") and not before.startswith("Exception ignored in")
        for before, line in itertools.pairwise(["", *each.output])
    )


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def kill(victim: Program) -> None:
    """End a program at once, frozen or not."""
    if victim.process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            victim.process.kill()


async def until(check: Callable[[], Awaitable[bool]], timeout_s: float = PATIENCE_S) -> None:
    """Look again and again until this holds."""
    async with asyncio.timeout(timeout_s):
        while not await check():  # noqa: ASYNC110  there is no event to wait for
            await asyncio.sleep(LOOK_AGAIN_S)


def _pid(consumer: str) -> str:
    return consumer.rsplit("-", 2)[-2]


@asynccontextmanager
async def stack_of(
    redis: RedisServer, *, tokens: int = 70, interval_s: float = 0.01, **settings: str
) -> AsyncIterator[Stack]:
    """A stack with nothing started yet; its model gives so many pieces at this pace."""
    async with (
        OpenAIEndpoint(Script(tokens=tokens, interval_s=interval_s)) as model,
        Stack(redis, model, **settings) as stack,
    ):
        yield stack
