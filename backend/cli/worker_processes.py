"""Supervises the worker processes beside a server: starts, restarts and terminates them."""

import asyncio
import contextlib
import functools
import logging
import sys
from pathlib import Path

from ..runtime.background_tasks import BackgroundTasks, first_of
from ..server.metrics_endpoint import socket_of
from ..settings import SettingsError
from .console import USAGE

RESTART_DELAY_S = 1.0  # before a worker that has exited is started again
KILL_AFTER_S = 5.0  # SIGKILL follows SIGTERM after this, and the grace that a worker has

logger = logging.getLogger(__name__)


class WorkerProcesses:
    """Keeps `count` worker processes alive while a block lasts, with this process's environment.

    They answer scrapes of their metrics on sockets in the directory `metrics_sockets`.
    """

    def __init__(self, count: int, grace_s: float, metrics_sockets: Path | None = None) -> None:
        self._grace_s = grace_s
        self._metrics_sockets = metrics_sockets
        self._stopping = asyncio.Event()
        self._supervisors = BackgroundTasks(
            *(functools.partial(self._supervise, number) for number in range(1, count + 1))
        )

    async def __aenter__(self) -> "WorkerProcesses":
        await self._supervisors.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        try:
            await self.stop()
        finally:
            await self._supervisors.__aexit__()

    async def first_failure(self) -> None:
        """Wait for ever, unless a worker cannot be started: that is raised.

        Raises SettingsError where one exits with USAGE as soon as it was first started.
        """
        await self._supervisors.first_failure()

    async def stop(self) -> None:
        """Let every worker finish or hand over what it has in work; on return all have exited."""
        self._stopping.set()
        await self._supervisors.all_ended()

    async def _supervise(self, number: int) -> None:
        is_first = True
        while not self._stopping.is_set():
            process = await self._start(number)
            try:
                await first_of(process.wait(), self._stopping.wait())
            finally:
                await self._terminate(process)
            if is_first and process.returncode == USAGE:
                raise SettingsError("a worker cannot work with these settings; it has said why")
            is_first = False
            if not self._stopping.is_set():
                logger.warning("worker %d ended with %s", process.pid, process.returncode)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RESTART_DELAY_S):
                        await self._stopping.wait()

    async def _start(self, number: int) -> asyncio.subprocess.Process:
        """Start a worker in a session of its own: Ctrl-C is for us, and we pass it on.

        Its standard input ends with this process, however that ends.
        """
        command = [sys.executable, "-m", "backend", "worker", "--until-eof"]
        if self._metrics_sockets:
            command += ["--metrics-socket", str(socket_of(self._metrics_sockets, number))]
        return await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, start_new_session=True
        )

    async def _terminate(self, process: asyncio.subprocess.Process) -> None:
        """Send SIGTERM, and SIGKILL to a worker that has not exited in time."""
        if process.returncode is not None:
            return
        process.terminate()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._grace_s + KILL_AFTER_S):
                    await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
