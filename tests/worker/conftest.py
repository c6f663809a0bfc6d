"""A server without workers, for the tests that run some."""

from collections.abc import AsyncIterator

import pytest

from backend.store.connection import Storage, connect
from backend.store.embedded_redis import EmbeddedRedis
from tests.fakes.programs import RedisServer
from tests.fakes.site import Site


@pytest.fixture
async def site(storage: Storage, shared_redis: RedisServer) -> AsyncIterator[Site]:
    """A server without workers, in front of the embedded and of a real Redis."""

    def another() -> Storage:
        """What a process of its own would have: the embedded Redis lives within this one."""
        if isinstance(storage.commands, EmbeddedRedis):
            return storage
        return connect(shared_redis.url)

    async with Site(storage, another).running() as site:
        yield site
