"""Keeps a number of worker processes alive beside a server."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ..runtime.task_groups import cancel
from ..server.metrics_endpoint import socket_of
from ..settings import SettingsError

RESTART_S = 1.0  # pause before a worker that has ended is started again
WRONG_SETTINGS = 2  # exit status of a worker that cannot work with what is set
KILL_AFTER_S = 5.0  # beyond the grace that a worker has for its answers

logger = logging.getLogger(__name__)


class Supervisor:
    """Runs `count` worker processes with the environment of this one.

    They answer scrapes of their metrics on sockets in the directory `sockets`.
    """

    def __init__(self, count: int, grace_s: float, sockets: Path | None = None) -> None:
        self._grace_s = grace_s
        self._stopping = asyncio.Event()
        self._sockets = sockets
        self._keepers = [
            asyncio.create_task(self._keep_one(number)) for number in range(1, count + 1)
        ]

    async def ended(self) -> None:
        """Wait for ever, unless a worker cannot be started: that is raised.

        Raises SettingsError where one ends with WRONG_SETTINGS as soon as it was first started.
        """
        if not self._keepers:
            await asyncio.get_running_loop().create_future()
        done, _ = await asyncio.wait(self._keepers, return_when=asyncio.FIRST_COMPLETED)
        for keeper in done:
            keeper.result()

    async def stop(self) -> None:
        """Let every worker finish or hand over what it has in work; on return all have ended."""
        self._stopping.set()
        await asyncio.gather(*self._keepers, return_exceptions=True)

    async def _keep_one(self, number: int) -> None:
        is_first = True
        place = ("--metrics-socket", str(socket_of(self._sockets, number))) if self._sockets else ()
        while not self._stopping.is_set():
            # A session of its own: Ctrl-C is for us, and we pass it on. Its
            # standard input ends with this process, however that ends.
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "backend", "worker", "--until-eof", *place,
                stdin=asyncio.subprocess.PIPE, start_new_session=True,
            )  # fmt: skip
            try:
                await self._ended_or_stopping(process)
            finally:
                await self._end(process)
            if is_first and process.returncode == WRONG_SETTINGS:
                raise SettingsError("a worker cannot work with these settings; it has said why")
            is_first = False
            if not self._stopping.is_set():
                logger.warning("worker %d ended with %s", process.pid, process.returncode)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RESTART_S):
                        await self._stopping.wait()

    async def _ended_or_stopping(self, process: asyncio.subprocess.Process) -> None:
        waits = [asyncio.ensure_future(wait) for wait in (process.wait(), self._stopping.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel(waits)

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(self._grace_s + KILL_AFTER_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


@asynccontextmanager
async def supervised(
    count: int, grace_s: float, sockets: Path | None = None
) -> AsyncIterator[Supervisor]:
    """Keep so many worker processes alive while the block lasts."""
    supervisor = Supervisor(count, grace_s, sockets)
    try:
        yield supervisor
    finally:
        await supervisor.stop()
