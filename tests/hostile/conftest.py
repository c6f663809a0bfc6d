"""One server, one worker, one Redis and one model for the whole suite, watched during each test."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator

import psutil  # type: ignore[import-untyped]  # it ships no types
import pytest
import pytest_asyncio

from tests.fakes.programs import RedisServer
from tests.faults.stack import Stack, stack_of

GROWTH_MB = 80.0  # what one attack may add to a process; an idle server has about 60
IN_TIME_S = 10.0  # an honest answer of ten pieces while the attack goes on
WORDS = "somebodys-words"
NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def redis_of_hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A redis-server that only these tests fill."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest_asyncio.fixture(
    scope="session", loop_scope="session", params=["true", "false"], ids=["xread", "xreadgroup"]
)
async def stack_of_hostile(
    redis_of_hostile: RedisServer, request: pytest.FixtureRequest
) -> AsyncIterator[Stack]:
    """The programs that are attacked, reading the stream in either way."""
    async with stack_of(redis_of_hostile, tokens=10, USE_XREAD=request.param) as stack:
        yield stack


def rss_mb(stack: Stack) -> dict[int, float]:
    """The memory of our programs, by process."""
    processes = [each.process.pid for each in (*stack.servers, *stack.workers)]
    return {pid: psutil.Process(pid).memory_info().rss / 1e6 for pid in processes}


@pytest_asyncio.fixture(loop_scope="session")
async def stack(stack_of_hostile: Stack) -> AsyncIterator[Stack]:
    """The programs, well before and after, with a log that tells of nothing odd."""
    stack = stack_of_hostile
    await stack.have(servers=1, workers=1)
    await stack.fresh()
    before = rss_mb(stack)
    await served(stack)
    yield stack
    for each in (*stack.servers, *stack.workers):
        assert each.process.returncode is None, each.log[-3000:]
        assert " ERROR " not in each.log, each.log[-3000:]
        assert WORDS not in each.log
        assert "9999-01-01" not in each.log  # a line that was forged
    await served(stack)
    stack.nothing_odd()
    for pid, after_mb in rss_mb(stack).items():
        assert after_mb - before[pid] < GROWTH_MB


async def served(stack: Stack) -> None:
    """An honest person gets the whole answer, in time."""
    async with asyncio.timeout(IN_TIME_S):
        answer = await (await stack.person()).ask(f"Am I served {next(NUMBERS)}?")
        await stack.whole(answer)
