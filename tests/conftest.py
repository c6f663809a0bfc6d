"""Fixtures that several test modules share."""

import os
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from backend.store.connection import Storage, connect
from backend.store.embedded_redis import embedded_redis
from tests.fakes.openai_endpoint import OpenAIEndpoint
from tests.fakes.programs import RedisServer

# A machine that does something else for a moment has found no slow code.
settings.register_profile(
    "patient", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Count a skipped test as failed where CI says that everything is installed."""
    report = yield
    if report.skipped and os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longreprtext}"
    return report


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One redis-server for all tests that do it no harm."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def redis_server(shared_redis: RedisServer) -> RedisServer:
    """The shared redis-server, empty."""
    async with connect(shared_redis.url) as storage:
        await storage.commands.flushall()
    return shared_redis


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A redis-server that this test may kill, pause and start again."""
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture(params=["fakeredis", "redis-server"])
async def storage(request: pytest.FixtureRequest) -> AsyncIterator[Storage]:
    """An empty Redis: the storage suite runs against the embedded and against a real one."""
    if request.param == "fakeredis":
        opened = embedded_redis()
    else:
        opened = connect(request.getfixturevalue("shared_redis").url)
    async with opened:
        await opened.commands.flushall()
        yield opened


@pytest.fixture
async def endpoint() -> AsyncIterator[OpenAIEndpoint]:
    """A fake of OpenAI's HTTP endpoint."""
    async with OpenAIEndpoint() as fake:
        yield fake
