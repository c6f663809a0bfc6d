"""Whole stacks of real programs, each started once for the tests of a module."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from backend.storage import Client
from tests.fakes.openai_endpoint import OpenAIEndpoint, Script
from tests.fakes.programs import Program, RedisServer, need_clients, program

API_KEY = "sk-nobody-may-ever-see-this-key"


@pytest.fixture(scope="module")
def clients() -> None:
    """Skips, with the reason, where Node or the clients are missing."""
    need_clients()


@pytest.fixture(scope="module")
def redis_of_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A redis-server that no other module empties while our backend uses it."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model() -> AsyncIterator[OpenAIEndpoint]:
    """The provider's endpoint: 40 pieces in 0.2 s, unless a question wants it otherwise."""
    async with OpenAIEndpoint(Script(tokens=40, interval_s=0.005)) as endpoint:
        yield endpoint


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(
    clients: None, redis_of_stack: RedisServer, model: OpenAIEndpoint
) -> AsyncIterator[Program]:
    """`python -m backend`, ready, between that Redis and that endpoint."""
    async with program(
        REDIS_URL=redis_of_stack.url,
        OPENAI_API_KEY=API_KEY,
        OPENAI_BASE_URL=model.url,
        MODEL_RETRIES="1",
        SHUTDOWN_GRACE_S="0",
    ) as started:
        await started.ready()
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def redis(redis_of_stack: RedisServer) -> AsyncIterator[Client]:
    """A client of that Redis, as another program would use it."""
    async with Redis.from_url(redis_of_stack.url, decode_responses=True) as client:
        yield client
