"""Stacks to break: one for each module, put together again by each test, or one for a test."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.fakes.programs import RedisServer
from tests.faults.stack import Stack, stack_of


@pytest.fixture(scope="module")
def redis_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A redis-server that only the tests of this module do harm to."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module", params=["xread", "xreadgroup"])
def use_xread(request: pytest.FixtureRequest) -> str:
    """The setting of either way of reading the stream: what holds in one, holds in the other."""
    return "true" if request.param == "xread" else "false"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack_of_module(redis_of_module: RedisServer, use_xread: str) -> AsyncIterator[Stack]:
    """The programs of this module: starting them takes longer than most tests."""
    async with stack_of(redis_of_module, USE_XREAD=use_xread) as stack:
        yield stack


@pytest_asyncio.fixture(loop_scope="module")
async def stack(stack_of_module: Stack) -> AsyncIterator[Stack]:
    """The stack of this module; in the end nothing odd has happened to anybody."""
    await stack_of_module.fresh()
    yield stack_of_module
    stack_of_module.nothing_odd()


@pytest_asyncio.fixture(loop_scope="module")
async def own_stack(own_redis: RedisServer, use_xread: str) -> AsyncIterator[Stack]:
    """A stack for one test, with nothing in it yet."""
    async with stack_of(own_redis, USE_XREAD=use_xread) as stack:
        yield stack
        stack.nothing_odd()
