"""GET /metrics: one process, several, and processes that do not answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from backend.app import create_app, load_configured_chain, run_worker
from backend.llm.base import Chain
from backend.llm.demo_model import demo_chain
from backend.runtime.metrics import Metrics
from backend.server.metrics_endpoint import join_expositions, serve_worker_metrics, socket_of
from backend.settings import Settings
from backend.store.connection import Storage, connect
from backend.store.embedded_redis import embedded_redis
from tests.fakes.programs import free_port
from tests.fakes.scrape import Scrape, scrape

Client = TestClient[web.Request, web.Application]


async def load(settings: Settings) -> Chain:
    """A model that nobody asks."""
    return demo_chain()


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    """A client of a server whose worker processes answer in tmp_path."""
    app = create_app(
        Settings(), with_worker=False, connect=embedded_redis, load_chain=load, workers=tmp_path
    )
    async with TestClient(TestServer(app)) as client:
        yield client


async def scraped(client: Client) -> Scrape:
    """What the server says."""
    async with client.get("/metrics") as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text = await response.text()
    headings = [line for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(headings) == len(set(headings)), "the samples of a metric have to stand together"
    return Scrape.parse(text)


def worker(
    socket: Path | None = None, *, metrics: Metrics | None = None, port: int = 0
) -> AbstractAsyncContextManager[None]:
    """A worker process that is scraped there."""
    settings = Settings(host="127.0.0.1", worker_metrics_port=port)
    return serve_worker_metrics(metrics or Metrics(), embedded_redis(), settings, socket)


async def test_a_server_tells_about_itself(client: Client) -> None:
    """Its own metrics, the queue, Redis, and the process it is."""
    said = await scraped(client)
    assert said.processes() == {"server": 1}
    assert said.total("redis_up") == 1
    assert "streaming_llm_questions_queued" in said.names
    assert "process_resident_memory_bytes" in said.names
    assert said.total("build_info") == 1


async def test_counters_do_not_tell_when_they_were_made(client: Client) -> None:
    """Each counter would be two series otherwise."""
    assert not [name for name in (await scraped(client)).names if name.endswith("_created")]


async def test_refusals_are_counted_where_they_happen(client: Client) -> None:
    """A POST that is refused counts under its request and code."""
    async with client.post("/askQuestionWithoutStream", data="no json") as response:
        assert response.status == 400
    said = await scraped(client)
    assert said.total("refusals_total", request="post", code="invalid_request") == 1
    assert said.total("refusals_total") == 1


async def test_workers_are_included(client: Client, tmp_path: Path) -> None:
    """What worker processes count stands beside the server's own, under their names."""
    async with AsyncExitStack() as stack:
        for number in (1, 2):
            metrics = Metrics()
            metrics.pieces.inc(10 * number)
            socket = socket_of(tmp_path, number)
            await stack.enter_async_context(worker(socket, metrics=metrics))
        said = await scraped(client)
    assert said.processes() == {"server": 1, "worker-1": 1, "worker-2": 1}
    assert said.total("pieces_total", process="worker-2") == 20
    assert said.total("pieces_total") == 30


async def test_a_dead_worker_is_down(client: Client, tmp_path: Path) -> None:
    """A killed worker leaves its socket behind: it is told to be down, the others are there."""
    dead = socket_of(tmp_path, 1)
    listening = await asyncio.start_unix_server(lambda reader, writer: None, dead)
    listening.close()
    await listening.wait_closed()
    async with worker(socket_of(tmp_path, 2)):
        assert (await scraped(client)).processes() == {"server": 1, "worker-1": 0, "worker-2": 1}
    # The socket is taken over by the next one of that number.
    async with worker(dead):
        assert (await scraped(client)).processes()["worker-1"] == 1


async def test_a_frozen_worker_delays_no_scrape_for_long(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that accepts and says nothing is down as well, after a moment."""
    monkeypatch.setattr("backend.server.metrics_endpoint.TIMEOUT_S", 0.05)
    socket = socket_of(tmp_path, 1)
    held: list[asyncio.StreamWriter] = []
    frozen = await asyncio.start_unix_server(lambda _, writer: held.append(writer), socket)
    async with frozen, asyncio.timeout(5):
        assert (await scraped(client)).processes() == {"server": 1, "worker-1": 0}
        for writer in held:
            writer.close()


async def test_a_server_without_redis_is_scraped_all_the_same() -> None:
    """Where Redis is away there is no queue to tell of, and the failures are counted."""

    def unreachable(url: str) -> Storage:
        return connect(f"redis://127.0.0.1:{free_port()}")

    app = create_app(Settings(), with_worker=False, connect=unreachable, load_chain=load)
    async with TestClient(TestServer(app)) as client:
        said = await scraped(client)
        assert said.total("redis_up") == 0
        assert "streaming_llm_questions_queued" not in said.names
        said = await scraped(client)
        assert said.total("redis_errors_total", kind="connection") > 0


async def test_a_worker_alone_has_a_port_of_its_own() -> None:
    """With WORKER_METRICS_PORT a worker is scraped directly; it tells nothing of the queue."""
    port = free_port()
    settings = Settings(host="127.0.0.1", worker_metrics_port=port)
    async with run_worker(settings, connect=embedded_redis, load_chain=load):
        said = await scrape(f"http://127.0.0.1:{port}")
    assert said.processes() == {"worker": 1}
    assert "streaming_llm_questions_queued" not in said.names


async def test_a_taken_port_is_an_error() -> None:
    """A worker that cannot be scraped as it was told to does not start."""
    port = free_port()
    settings = Settings(host="127.0.0.1", worker_metrics_port=port)
    async with worker(port=port):
        with pytest.raises(OSError, match="address already in use"):
            async with run_worker(
                settings, connect=embedded_redis, load_chain=load_configured_chain
            ):
                pytest.fail("it runs")


def test_families_are_joined() -> None:
    """Of several expositions one is made in which every family stands once."""
    one = "# HELP a About a.\n# TYPE a counter\na_total 1\n# HELP b About b.\n# TYPE b gauge\nb 2\n"
    two = "# HELP b About b.\n# TYPE b gauge\nb 3\n"
    assert join_expositions([one, two]) == one + "b 3\n"
