"""Whole stacks of real programs, one for the tests of a module; and one browser for all tests."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser, BrowserContext, Page, expect
from redis.asyncio import Redis

from backend.server.static_page import create_page, socket_io_client_file
from backend.store.connection import Client
from tests.e2e.pages import open_page, opened_context
from tests.fakes.chromium import CHROMIUM, chromium
from tests.fakes.fake_backend import FakeBackend
from tests.fakes.openai_endpoint import OpenAIEndpoint, Script
from tests.fakes.programs import Program, RedisServer, need_clients, program

API_KEY = "sk-nobody-may-ever-see-this-key"

expect.set_options(timeout=20_000)  # ms; what is waited for comes soon, but on machines under load


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


@pytest.fixture(scope="session")
def installed() -> None:
    """Skips, with the reason, where a browser or the client is missing."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    if socket_io_client_file("socket.io.esm.min.js") is None:
        pytest.skip("socket.io-client is not installed: run `npm ci` in frontend/")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(installed: None) -> AsyncIterator[Browser]:
    """Chromium, started once for all tests: it takes longer to start than most of them to run."""
    # Whoever goes back gets the page from this cache, its sockets closed.
    async with chromium(without=["--disable-back-forward-cache"]) as browser:
        yield browser


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def site(installed: None) -> AsyncIterator[str]:
    """The page's own origin, as the backend serves it."""
    runner = web.AppRunner(create_page(), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    await runner.cleanup()


@pytest_asyncio.fixture(loop_scope="session")
async def backend() -> AsyncIterator[FakeBackend]:
    """A backend that speaks the contract, and says what the test makes it say."""
    async with FakeBackend().serving() as backend:
        yield backend


@pytest_asyncio.fixture(loop_scope="session")
async def plain_backend() -> AsyncIterator[FakeBackend]:
    """A backend like the Node original."""
    async with FakeBackend(plain=True).serving() as backend:
        yield backend


@pytest_asyncio.fixture(loop_scope="session")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """A fresh browser profile."""
    async with opened_context(browser) as context:
        yield context


@pytest_asyncio.fixture(loop_scope="session")
async def page(context: BrowserContext, site: str, backend: FakeBackend) -> Page:
    """The page, connected to the backend that is told what to say."""
    return await open_page(context, site, backend)
