"""`python -m backend <command>` as a person or a script runs it: two outputs, an input, Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from tests.fakes.programs import ROOT, START_TIMEOUT_S, TESTS

PIECE = 65_536
WHOLE_RUN_S = 30.0  # of a command, from its start on, on a machine under load


class Command:
    """A command that was started; `out` and `err` are what it has written so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._written = {"out": b"", "err": b""}
        self._more = asyncio.Condition()
        streams = (("out", process.stdout), ("err", process.stderr))
        self._readers = [
            asyncio.create_task(self._read(name, stream)) for name, stream in streams if stream
        ]

    @property
    def out(self) -> str:
        """Its standard output, to the byte."""
        return self._written["out"].decode()

    @property
    def err(self) -> str:
        """Its standard error."""
        return self._written["err"].decode()

    async def _read(self, name: str, stream: asyncio.StreamReader) -> None:
        while piece := await stream.read(PIECE):
            async with self._more:
                self._written[name] += piece
                self._more.notify_all()

    async def said(self, text: str, where: str = "out", *, times: int = 1) -> None:
        """Wait until this stands so often in an output, `out` or `err`."""
        async with asyncio.timeout(START_TIMEOUT_S), self._more:
            await self._more.wait_for(lambda: self._written[where].count(text.encode()) >= times)

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    async def ended(self, timeout_s: float = WHOLE_RUN_S) -> int:
        """Wait for its end; returns its exit code. It never ends with a traceback."""
        async with asyncio.timeout(timeout_s):
            status = await self.process.wait()
            await asyncio.gather(*self._readers)
        for bad in ("Traceback", "never retrieved", "Warning", "Unclosed"):
            assert bad not in self.err, self.err
        return status


@contextlib.asynccontextmanager
async def command(
    *arguments: str,
    stdin: bytes | None = None,
    stdout: int = asyncio.subprocess.PIPE,
    stderr: int = asyncio.subprocess.PIPE,
    directory: str | Path = TESTS,
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[Command]:
    """Run a command in an environment without any setting but these; killed with the block."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OPENAI_", "REDIS_", "BACKEND_"))
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-m", "backend", *arguments,
        cwd=directory,
        env={**clean, "PYTHONPATH": str(ROOT), **(env or {})},
        stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
        stdout=stdout, stderr=stderr,
    )  # fmt: skip
    started = Command(process)
    if process.stdin and stdin is not None:
        process.stdin.write(stdin)
        process.stdin.close()
    try:
        yield started
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await asyncio.gather(*started._readers)


async def output_of(*arguments: str, status: int = 0, env: Mapping[str, str] | None = None) -> str:
    """Run a command to its end, which has to come with this exit code; returns its output."""
    async with command(*arguments, env=env) as started:
        assert await started.ended() == status, started.err
    return started.out
