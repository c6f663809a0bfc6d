"""A server for the commands of a module: it harms nobody, so it is started once."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.fakes.openai_endpoint import OpenAIEndpoint, Script
from tests.fakes.programs import Program, RedisServer, program


@pytest.fixture(scope="module")
def redis_of_commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A redis-server that no other module empties."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model() -> AsyncIterator[OpenAIEndpoint]:
    """The provider's endpoint: 40 pieces in 0.2 s, unless a question wants it otherwise."""
    async with OpenAIEndpoint(Script(tokens=40, interval_s=0.005)) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def stack_env(redis_of_commands: RedisServer, model: OpenAIEndpoint) -> dict[str, str]:
    """The settings of a server and a worker between that Redis and that endpoint."""
    return {
        "REDIS_URL": redis_of_commands.url,
        "OPENAI_API_KEY": "sk-of-the-command-tests",
        "OPENAI_BASE_URL": model.url,
        "MODEL_RETRIES": "0",
        "SHUTDOWN_GRACE_S": "0",
        "LEASE_S": "0.5",
        "HOST": "127.0.0.1",
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(stack_env: dict[str, str]) -> AsyncIterator[Program]:
    """`python -m backend`, ready."""
    async with program(**stack_env) as started:
        await started.ready()
        yield started
