"""A POST in consumer-group mode: its answer is acknowledged once the response is written."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp.test_utils import TestClient, TestServer

from backend.app import create_app
from backend.protocol.errors import ModelError
from backend.settings import Settings
from backend.store.connection import Storage
from backend.store.embedded_redis import embedded_redis
from tests.server.http_routes.http_client import QUESTION, Client, FakeChain, post, ready

STREAM = "OPENAI_STREAM:USER1"
GROUP = "OPENAI_STREAM_Grp_USER1"


@pytest.fixture
def storage() -> Storage:
    """An embedded Redis."""
    return embedded_redis()


@pytest.fixture
def chain() -> FakeChain:
    """The model."""
    return FakeChain("One,", " two.")


@pytest.fixture
async def client(storage: Storage, chain: FakeChain) -> AsyncIterator[Client]:
    """A client of a server that keeps account."""
    settings = Settings(use_xread=False)
    app = create_app(settings, connect=lambda url: storage, load_chain=chain.load)
    async with TestClient(TestServer(app)) as client:
        await ready(client)
        yield client


async def test_a_post_leaves_nothing_pending(client: Client, storage: Storage) -> None:
    """Everything up to the END was delivered to the user's group, and is acknowledged."""
    assert await post(client, QUESTION) == (200, {"output": "One, two."})
    ((end_id, fields),) = await storage.commands.xrevrange(STREAM, count=1)
    assert fields["questionId"].startswith("Q-")
    assert fields["status"] == "done"
    (group,) = await storage.commands.xinfo_groups(STREAM)
    assert (group["name"], group["last-delivered-id"]) == (GROUP, end_id)
    async with asyncio.timeout(5):
        while (await storage.commands.xpending(STREAM, GROUP))["pending"]:
            pass  # a round trip: what acknowledges gets its turn meanwhile


async def test_a_failed_answer_is_received_too(
    client: Client, chain: FakeChain, storage: Storage
) -> None:
    """A response that tells of a failure has been delivered like any other."""
    chain.failure = ModelError()
    status, body = await post(client, QUESTION)
    assert (status, body["error"]["code"]) == (500, "model_error")
    async with asyncio.timeout(5):
        while (await storage.commands.xpending(STREAM, GROUP))["pending"]:
            pass
