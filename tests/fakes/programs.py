"""The programs that tests start: a real redis-server, our own command line, clients on Node."""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
CLIENTS = TESTS / "e2e" / "clients"
PORTS = range(10_000, 22_000)  # also those 10,000 above, for clusters, are below the ephemeral ones
START_TIMEOUT_S = 20.0
LOOK_AGAIN_S = 0.02  # nobody tells when a program has begun to answer
STOP_TIMEOUT_S = 15.0


def need(program: str) -> str:
    """The path of a program; without it the test is skipped, or fails where CI says it is there."""
    path = shutil.which(program)
    if path is None:
        reason = f"{program} is not installed"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}, and nothing is skipped in CI")
        pytest.skip(reason)
    return path


def free_port() -> int:
    """A port that nobody listens on right now, and that no system gives away by itself."""
    while True:
        port = PORTS.start + secrets.randbelow(len(PORTS))
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class RedisServer:
    """A real redis-server on loopback, which can be killed, paused and started again.

    Nothing it has said is lost with its process: it writes before it replies. It need
    not wait for a disk, which the system loses only together with the whole test.
    """

    def __init__(self, directory: Path, *options: str) -> None:
        self.port = free_port()
        self._options = options
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._program = need("redis-server")
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, with the data it had; returns once it answers."""
        self._process = subprocess.Popen(
            [
                self._program, "--port", str(self.port), "--bind", "127.0.0.1",
                "--dir", str(self._directory), "--appendonly", "yes", "--appendfsync", "no",
                "--save", "", "--logfile", str(self._directory / "redis.log"),
                *self._options,
            ]
        )  # fmt: skip
        try:
            asyncio.run(self._answering())
        except BaseException:
            self.kill()
            raise

    async def _answering(self) -> None:
        async with asyncio.timeout(START_TIMEOUT_S), Redis.from_url(self.url) as client:
            while True:
                with contextlib.suppress(OSError, Exception):
                    if await client.ping():
                        return
                await asyncio.sleep(LOOK_AGAIN_S)

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Freeze it."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on after a pause."""
        assert self._process
        self._process.send_signal(signal.SIGCONT)


class Program:
    """`python -m backend` as a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.output: list[str] = []
        self._printed = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())

    @property
    def log(self) -> str:
        """Everything it has printed so far."""
        return "".join(self.output)

    async def _read(self) -> None:
        assert self.process.stdout
        async for line in self.process.stdout:
            async with self._printed:
                self.output.append(line.decode())
                self._printed.notify_all()

    async def printed(
        self, text: str, *, times: int = 1, timeout_s: float = START_TIMEOUT_S
    ) -> None:
        """Wait until it has printed this so often."""
        async with asyncio.timeout(timeout_s), self._printed:
            await self._printed.wait_for(lambda: self.log.count(text) >= times)

    async def ready(self) -> None:
        """Wait until it can take questions."""
        async with asyncio.timeout(START_TIMEOUT_S), aiohttp.ClientSession() as http:
            while True:
                assert self.process.returncode is None, self.log
                with contextlib.suppress(aiohttp.ClientError):
                    async with http.get(f"{self.url}/readyz") as response:
                        if response.status == 200:
                            return
                await asyncio.sleep(LOOK_AGAIN_S)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    async def ended(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Wait for its end; returns its exit status."""
        async with asyncio.timeout(timeout_s):
            status = await self.process.wait()
            await self._reader
        return status


@contextlib.asynccontextmanager
async def program(
    *arguments: str, directory: str | Path = TESTS, **env: str
) -> AsyncIterator[Program]:
    """Run `python -m backend` with these arguments and settings; ended with the block.

    It runs in a directory without a .env, so that a developer's own has no say.
    """
    port = env.setdefault("PORT", str(free_port()))
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OPENAI_", "REDIS_"))
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-m", "backend", *arguments,
        cwd=directory,
        env={**clean, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT), **env},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    started = Program(process, int(port) if port.isdecimal() else 0)
    try:
        yield started
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.terminate()
            try:
                await started.ended()
            except TimeoutError:
                process.kill()
                await started.ended()
        else:
            await started.ended()


def need_clients() -> None:
    """Skip, or fail in CI, where Node or the clients' packages are missing."""
    need("node")
    if not (TESTS / "node_modules").is_dir():
        reason = "the clients are not installed: run `npm ci --prefix tests`"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


async def run_client(name: str, *arguments: str) -> list[Any]:
    """Run one of the programs in e2e/clients to its end; returns the lines it printed, decoded."""
    process = await asyncio.create_subprocess_exec(
        need("node"), str(CLIENTS / name), *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, output.decode()
    return [json.loads(line) for line in output.splitlines()]


class Talk:
    """A real client that a test leads step by step; `chunks` are those it has received."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.chunks: list[tuple[str, dict[str, Any]]] = []
        self._process = process
        self._acks: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._received = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stdout
        async for line in self._process.stdout:
            kind, *arguments = json.loads(line)
            if kind == "ack":
                self._acks.put_nowait(arguments[0])
                continue
            async with self._received:
                self.chunks.append((arguments[0], arguments[1]))
                self._received.notify_all()

    async def call(self, event: str, payload: Any) -> dict[str, Any]:
        """Emit an event; returns its acknowledgement."""
        assert self._process.stdin
        self._process.stdin.write(f"{json.dumps([event, payload])}\n".encode())
        async with asyncio.timeout(START_TIMEOUT_S):
            return await self._acks.get()

    async def wait(self, check: Callable[[], bool]) -> None:
        """Wait until this holds; it is looked at after each chunk."""
        async with asyncio.timeout(START_TIMEOUT_S), self._received:
            await self._received.wait_for(check)

    async def said(self, question_id: str, text: str) -> None:
        """Wait until so much of an answer has come."""
        await self.wait(lambda: text in self.text(question_id))

    async def ended(self, question_id: str) -> dict[str, Any]:
        """Wait for the END of an answer; returns its meta."""
        await self.wait(lambda: bool(self._ends(question_id)))
        return self._ends(question_id)[0]

    def text(self, question_id: str) -> str:
        """The pieces of an answer that have come, in the order in which they came."""
        return "".join(
            text
            for text, meta in self.chunks
            if meta["questionId"] == question_id and meta.get("number") and "status" not in meta
        )

    def _ends(self, question_id: str) -> list[dict[str, Any]]:
        return [
            meta
            for _, meta in self.chunks
            if meta["questionId"] == question_id and "status" in meta
        ]

    async def close(self) -> None:
        """Disconnect, and return once the program has ended."""
        assert self._process.stdin
        self._process.stdin.close()
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await self._process.wait()
            await self._reader


@contextlib.asynccontextmanager
async def talking(url: str, *arguments: str) -> AsyncIterator[Talk]:
    """Connect a client that a test leads; disconnected with the block."""
    process = await asyncio.create_subprocess_exec(
        need("node"), str(CLIENTS / "talk.mjs"), "--url", url, *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    talk = Talk(process)
    try:
        yield talk
    finally:
        if process.returncode is None:
            await talk.close()
