"""A server with an embedded Redis, and a client of it."""

from collections.abc import AsyncIterator

import pytest
from aiohttp.test_utils import TestClient, TestServer

from backend.app import create_app
from backend.settings import Settings
from backend.store.embedded_redis import embedded_redis

from .http_client import Client, FakeChain, ready


@pytest.fixture
def chain() -> FakeChain:
    """The model."""
    return FakeChain("A log ", "of <b>entries</b>,\n", "{in} order. 漢字")


@pytest.fixture
async def client(chain: FakeChain) -> AsyncIterator[Client]:
    """A client of a server that can take questions."""
    app = create_app(Settings(), connect=embedded_redis, load_chain=chain.load)
    async with TestClient(TestServer(app)) as client:
        await ready(client)
        yield client
