"""The programs a load run needs, started on free ports and stopped again."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import aiohttp

_ROOT = Path(__file__).resolve().parents[2]
_START_TIMEOUT_S = 30
_STOP_TIMEOUT_S = 20


@dataclass(frozen=True, slots=True)
class Stack:
    """A backend that runs with all it needs; what is not known of it cannot be measured."""

    url: str
    pid: int | None
    redis_url: str | None
    model_url: str


class DidNotStart(Exception):
    """A program ended or stayed silent before it could be used; the text is what it said."""


@asynccontextmanager
async def whole_stack(
    backend_arguments: Sequence[str], redis_url: str | None
) -> AsyncIterator[Stack]:
    """Redis (unless one is named), the fake endpoint and a backend that takes questions."""
    async with AsyncExitStack() as stack:
        if redis_url is None:
            redis_url = await stack.enter_async_context(redis_server())
        model_url = await stack.enter_async_context(fake_endpoint())
        command = ["-m", "backend", *backend_arguments]
        yield await stack.enter_async_context(started(command, redis_url, model_url))


@asynccontextmanager
async def started(
    arguments: Sequence[str], redis_url: str, model_url: str, **settings: str
) -> AsyncIterator[Stack]:
    """A backend that takes questions: a program for this Python, with the settings of ours."""
    port = free_port()
    command = [sys.executable, *arguments]
    environment = backend_environment(redis_url, model_url, port) | settings
    async with running(command, environment) as backend:
        url = f"http://127.0.0.1:{port}"
        await _until_ready(backend, f"{url}/readyz")
        yield Stack(url, backend.pid, redis_url, model_url)


def backend_environment(redis_url: str, model_url: str, port: int) -> dict[str, str]:
    """What a backend has to be told to run on this machine alone, asked by one address."""
    unlimited = ("ASKS_PER_MINUTE", "MAX_RUNNING_PER_ADDRESS", "MAX_SOCKETS_PER_ADDRESS")
    return dict.fromkeys(unlimited, "0") | {
        "OPENAI_API_KEY": "test",
        "OPENAI_BASE_URL": model_url,
        "REDIS_URL": redis_url,
        "HOST": "127.0.0.1",
        "PORT": str(port),
    }


@asynccontextmanager
async def redis_server() -> AsyncIterator[str]:
    """A redis-server of our own that keeps nothing on disk; gives its address."""
    program = shutil.which("redis-server")
    if program is None:
        raise DidNotStart("redis-server is not installed; name a running one with --redis-url")
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    async with running([program, *options], {}) as server:
        async with asyncio.timeout(_START_TIMEOUT_S):
            while not await accepts(port):
                server.check()
                await asyncio.sleep(0.02)
        yield f"redis://127.0.0.1:{port}"


@asynccontextmanager
async def fake_endpoint(port: int = 0) -> AsyncIterator[str]:
    """The fake of OpenAI in a process of its own; gives the value for OPENAI_BASE_URL."""
    command = [sys.executable, "-m", "tests.fakes.openai_endpoint", "--port", str(port)]
    async with running(command, {}) as endpoint:
        async with asyncio.timeout(_START_TIMEOUT_S):
            while "\n" not in endpoint.output():
                endpoint.check()
                await asyncio.sleep(0.02)
        yield endpoint.output().splitlines()[0]


class Program:
    """A child process whose output goes to a file."""

    def __init__(self, process: asyncio.subprocess.Process, log: IO[bytes]) -> None:
        self.pid = process.pid
        self._process = process
        self._log = log

    def output(self) -> str:
        """All that it has written so far."""
        # Positioned reads: the child shares the offset, and writes where it stands.
        fd = self._log.fileno()
        return os.pread(fd, os.fstat(fd).st_size, 0).decode(errors="replace")

    def check(self) -> None:
        """Raise DidNotStart if it has ended."""
        if self._process.returncode is not None:
            raise DidNotStart(self.output()[-4000:] or f"ended with {self._process.returncode}")


@asynccontextmanager
async def running(command: Sequence[str], environment: Mapping[str, str]) -> AsyncIterator[Program]:
    """A child process; at the exit it gets SIGTERM, and SIGKILL if that is not enough."""
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=_ROOT,
            env={**os.environ, **environment},
            stdout=log,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            yield Program(process, log)
        finally:
            await _stop(process)


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(_STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        sys.stderr.write(f"process {process.pid} did not end within {_STOP_TIMEOUT_S} s: killed\n")
        process.kill()
        await process.wait()


async def _until_ready(backend: Program, url: str) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    async with aiohttp.ClientSession() as http:
        while time.monotonic() < deadline:
            backend.check()
            try:
                async with http.get(url) as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass  # it does not listen yet
            await asyncio.sleep(0.05)
    raise DidNotStart(f"not ready within {_START_TIMEOUT_S} s:\n{backend.output()[-4000:]}")


async def accepts(port: int) -> bool:
    """Whether somebody listens on this port."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def raise_file_limit() -> None:
    """Allow this process and its children as many sockets as the system lets them have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
