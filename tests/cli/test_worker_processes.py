"""The worker processes beside a server: kept alive, ended with it, and never left behind.

Most tests put a small stand-in in the worker's place, which connects to the test
and obeys it; the last ones kill real programs.
"""

import asyncio
import json
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it ships no types
import pytest

from backend.cli.console import USAGE
from backend.cli.worker_processes import WorkerProcesses
from backend.protocol.entries import BEGINNING
from backend.protocol.record import Record
from backend.store import work_queue
from backend.store.connection import connect
from backend.store.records import Records
from tests.fakes.openai_endpoint import OpenAIEndpoint
from tests.fakes.programs import ROOT, Program, RedisServer, program
from tests.fakes.rig import STREAM, is_quiet, new_ask

pytestmark = pytest.mark.usefixtures("shared_redis")  # it has to start outside of an event loop

PATIENCE_S = 10.0  # starting a process takes a while on a machine under load

STAND_IN = """
import json, os, signal, socket, sys
told = socket.create_connection(("127.0.0.1", int(os.environ["STAND_IN_PORT"])))

def report(what, *facts):
    # Unbuffered, because a signal may interrupt it.
    told.sendall((json.dumps([what, *facts]) + "\\n").encode())

if os.environ["STAND_IN_STUBBORN"] == "yes":
    signal.signal(signal.SIGTERM, lambda *_: report("ignored"))
report("started", os.getpid(), os.getsid(0), sys.argv[1:])
sys.stdin.read()
report("eof")
"""


class StandIn:
    """A process that was started as a worker; what it reports can be waited for."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.pid = self.session = 0
        self.arguments: list[str] = []

    async def started(self) -> None:
        """Hear who it is."""
        _, self.pid, self.session, self.arguments = json.loads(await self._reader.readline())

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        psutil.Process(self.pid).send_signal(number)

    async def said(self) -> str:
        """The next thing it reports; nothing once it has ended."""
        async with asyncio.timeout(PATIENCE_S):
            line = await self._reader.readline()
        return json.loads(line)[0] if line else ""

    def close(self) -> None:
        """Hear no more of it."""
        self._writer.close()


class Stage:
    """Where stand-ins appear when workers are started."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = 0
        self.all: list[StandIn] = []
        self._appeared: asyncio.Queue[StandIn] = asyncio.Queue()

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Stage"]:
        """Wait for stand-ins while the block lasts."""
        (self.directory / "backend").mkdir()
        (self.directory / "backend" / "__init__.py").touch()  # or an installed one goes first
        (self.directory / "backend" / "__main__.py").write_text(STAND_IN)
        server = await asyncio.start_server(self._appear, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self
            for worker in self.all:
                worker.close()

    async def _appear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        worker = StandIn(reader, writer)
        await worker.started()
        self.all.append(worker)
        self._appeared.put_nowait(worker)

    async def worker(self) -> StandIn:
        """The next one that has been started."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._appeared.get()

    def quiet(self) -> bool:
        """Whether nobody has been started but those that were awaited."""
        return self._appeared.empty()


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    """Whatever is started as a worker is a stand-in: `python -m` looks here first."""
    monkeypatch.chdir(tmp_path)
    async with Stage(tmp_path).open() as stage:
        monkeypatch.setenv("STAND_IN_PORT", str(stage.port))
        monkeypatch.setenv("STAND_IN_STUBBORN", "no")
        yield stage


async def stopped(workers: WorkerProcesses) -> None:
    """Stop; that takes no longer than patience has."""
    async with asyncio.timeout(PATIENCE_S):
        await workers.stop()


async def test_so_many_workers_run_as_long_as_the_block(stage: Stage) -> None:
    """Two are started in sessions of their own, bound to end with us; behind the block is none."""
    async with WorkerProcesses(2, 1.0):
        workers = [await stage.worker() for _ in range(2)]
        assert {tuple(worker.arguments) for worker in workers} == {("worker", "--until-eof")}
        assert all(worker.session == worker.pid for worker in workers)
    assert [await worker.said() for worker in workers] == ["", ""]
    assert not any(psutil.pid_exists(worker.pid) for worker in workers)


async def test_a_killed_worker_is_started_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """However often it dies, another one takes its place; the log says how it ended."""
    monkeypatch.setattr("backend.cli.worker_processes.RESTART_DELAY_S", 0.01)
    async with WorkerProcesses(1, 1.0):
        first = await stage.worker()
        first.signal(signal.SIGKILL)
        second = await stage.worker()
        second.signal(signal.SIGTERM)
        third = await stage.worker()
        assert len({first.pid, second.pid, third.pid}) == 3
        assert [record.getMessage() for record in caplog.records] == [
            f"worker {first.pid} ended with -9",
            f"worker {second.pid} ended with -15",
        ]
    assert stage.quiet()


async def test_a_worker_that_its_settings_do_not_let_work(own_redis: RedisServer) -> None:
    """What only a worker can find out ends the whole program, naming the variable."""
    env = {
        "OPENAI_API_KEY": "key",
        "REDIS_URL": own_redis.url,
        "MODEL_PARAMETERS": '{"temperature": "hot"}',
    }
    for workers in ((), ("--workers", "1")):
        async with program(*workers, "--port", "0", **env) as server:
            assert await server.ended(3 * PATIENCE_S) == USAGE
            assert "error: MODEL_PARAMETERS is wrong: temperature" in server.log
            assert "Traceback" not in server.log


async def test_a_worker_is_not_started_again_at_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that dies as soon as it starts does not eat the machine; the others are not concerned."""
    monkeypatch.setattr("backend.cli.worker_processes.RESTART_DELAY_S", PATIENCE_S)
    async with WorkerProcesses(2, 1.0) as workers:
        dying, staying = [await stage.worker() for _ in range(2)]
        dying.signal(signal.SIGKILL)
        assert await dying.said() == ""
        assert await is_quiet(asyncio.ensure_future(stage.worker()))
        assert psutil.pid_exists(staying.pid)
        await stopped(workers)  # in the middle of the pause
    assert len(stage.all) == 2


async def test_stopping_ends_all_at_once(stage: Stage) -> None:
    """Every worker is told at the same time, and has ended on return; stopping may repeat."""
    async with WorkerProcesses(3, 1.0) as workers:
        stand_ins = [await stage.worker() for _ in range(3)]
        await stopped(workers)
        await stopped(workers)
        assert not any(psutil.pid_exists(each.pid) for each in stand_ins)
        assert stage.quiet()


async def test_a_worker_that_ignores_the_signal_is_killed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has its grace, and some seconds more; then it has ended all the same."""
    monkeypatch.setenv("STAND_IN_STUBBORN", "yes")
    monkeypatch.setattr("backend.cli.worker_processes.KILL_AFTER_S", 0.1)
    async with WorkerProcesses(1, 0.1) as workers:
        worker = await stage.worker()
        began = asyncio.get_running_loop().time()
        await stopped(workers)
        assert asyncio.get_running_loop().time() - began >= 0.2
    assert await worker.said() == "ignored"
    assert await worker.said() == ""  # not its end of file: the kill
    assert not psutil.pid_exists(worker.pid)


async def test_waiting_for_a_failure_waits_while_workers_come_and_go(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that dies is no failure of the server's."""
    monkeypatch.setattr("backend.cli.worker_processes.RESTART_DELAY_S", 0.01)
    async with WorkerProcesses(1, 1.0) as workers:
        waiting = asyncio.create_task(workers.first_failure())
        (await stage.worker()).signal(signal.SIGKILL)
        await stage.worker()
        assert await is_quiet(waiting)
        waiting.cancel()


async def test_without_workers_there_is_nothing_to_wait_for() -> None:
    """With none to keep, waiting for a failure goes on for ever, and stopping is done at once."""
    async with WorkerProcesses(0, 1.0) as workers:
        waiting = asyncio.create_task(workers.first_failure())
        assert await is_quiet(waiting)
        waiting.cancel()


async def test_a_worker_that_cannot_be_started_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where there is no program to run, whoever waits is told, and stopping still works."""
    monkeypatch.setattr("backend.cli.worker_processes.sys.executable", str(tmp_path / "nothing"))
    async with WorkerProcesses(1, 1.0) as workers:
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(FileNotFoundError):
                await workers.first_failure()


# With real programs


def environment(redis: RedisServer, endpoint: OpenAIEndpoint) -> dict[str, str]:
    """The settings of programs that answer."""
    return {
        "REDIS_URL": redis.url,
        "OPENAI_BASE_URL": endpoint.url,
        "OPENAI_API_KEY": "test",
        "HOST": "127.0.0.1",
        "SHUTDOWN_GRACE_S": "2",
    }


async def workers_at_work(server: Program, count: int) -> None:
    """Wait until so many workers in all have said that they wait for questions."""
    await server.printed("waiting for questions", times=count)


async def test_no_worker_outlives_a_server_that_is_killed(
    redis_server: RedisServer, endpoint: OpenAIEndpoint
) -> None:
    """When the server is gone without a word, its workers end, those started again as well."""
    async with program("--workers", "2", **environment(redis_server, endpoint)) as server:
        await workers_at_work(server, 2)
        killed, kept = psutil.Process(server.process.pid).children()
        killed.kill()
        await server.printed(f"worker {killed.pid} ended with -9")
        await workers_at_work(server, 3)
        workers = psutil.Process(server.process.pid).children()
        assert len(workers) == 2
        assert kept in workers
        server.signal(signal.SIGKILL)
        # Its output, which they share, is at its end only when they are. One that was just
        # started has to import LangChain first, which takes long on a machine under load.
        assert await server.ended(timeout_s=2 * PATIENCE_S) == -9


async def test_a_worker_whose_server_is_gone_drains_quietly(
    redis_server: RedisServer, endpoint: OpenAIEndpoint
) -> None:
    """While it waits for an answer to end it leaves the machine to others."""
    ask = new_ask("Who waits? [[tokens=1000 interval_ms=50]]")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "backend", "worker", "--until-eof",
        cwd=ROOT, env={**os.environ, **environment(redis_server, endpoint)},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdin
    try:
        async with connect(redis_server.url) as storage:
            queued = Record.queued(ask, STREAM, BEGINNING, "token")
            put = work_queue.put(ask.question_id, "token")
            await Records(storage, 60).create(queued, put)
        await endpoint.wait_sent(ask.question, 5)
        used_s = sum(psutil.Process(process.pid).cpu_times()[:2])
        ended_before = resource.getrusage(resource.RUSAGE_CHILDREN)
        process.stdin.close()
        async with asyncio.timeout(PATIENCE_S):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    ended_now = resource.getrusage(resource.RUSAGE_CHILDREN)
    total_s = sum(ended_now[:2]) - sum(ended_before[:2])
    assert total_s - used_s < 1.0  # of 2 s of grace
