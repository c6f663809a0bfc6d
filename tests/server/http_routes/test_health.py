"""GET /healthz and /readyz: alive, and able to take questions."""

from aiohttp.test_utils import TestClient, TestServer

from backend.app import create_app, drain
from backend.settings import Settings
from backend.store.connection import connect
from backend.store.embedded_redis import embedded_redis
from tests.fakes.programs import free_port

from .http_client import QUESTION, Client, FakeChain, post, ready


async def test_is_alive(client: Client) -> None:
    """/healthz answers as long as the process does."""
    async with client.get("/healthz") as response:
        assert (response.status, await response.json()) == (200, {"status": "ok"})


async def test_is_ready(client: Client) -> None:
    """/readyz is 200 while questions can be taken."""
    async with client.get("/readyz") as response:
        assert (response.status, await response.json()) == (200, {"status": "ready"})


async def test_is_not_ready_without_redis(chain: FakeChain) -> None:
    """Without Redis /readyz is 503, and /healthz stays 200: a restart would not help."""
    settings = Settings(redis_url=f"redis://127.0.0.1:{free_port()}/0")
    app = create_app(settings, connect=connect, load_chain=chain.load)
    async with TestClient(TestServer(app)) as client:
        async with client.get("/readyz") as response:
            assert response.status == 503
            assert (await response.json())["error"]["code"] == "storage_unavailable"
        async with client.get("/healthz") as response:
            assert response.status == 200


async def test_whoever_is_ready_takes_questions(chain: FakeChain) -> None:
    """The first question after the first 200 of /readyz is accepted."""
    app = create_app(Settings(), connect=embedded_redis, load_chain=chain.load)
    async with TestClient(TestServer(app)) as client:
        await ready(client)
        status, _ = await post(client, QUESTION)
        assert status == 200


async def test_is_not_ready_while_draining(client: Client) -> None:
    """Before the end /readyz is 503 and questions are refused for a moment; /healthz is 200."""
    assert client.app
    await drain(client.app)
    async with client.get("/readyz") as response:
        assert response.status == 503
    status, body = await post(client, QUESTION)
    assert (status, body["error"]["code"], body["error"]["retryable"]) == (500, "busy", True)
    async with client.get("/healthz") as response:
        assert response.status == 200
