"""A running server, its clients, and what no test of the transport may leave in the log."""

import gc
import logging
from collections.abc import AsyncIterator, Iterator

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse

from tests.server.engineio_fixes.raw_clients import WORDS, Polling, Server, ws_connect


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    """An HTTP client."""
    async with ClientSession() as session:
        yield session


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A running server."""
    async with Server(upgrade_timeout=0.2).running() as server:
        yield server


@pytest.fixture
async def polling(http: ClientSession, server: Server) -> Polling:
    """A client that polls."""
    return await Polling(http, server).connect()


@pytest.fixture
async def ws(http: ClientSession, server: Server) -> ClientWebSocketResponse:
    """A client on a WebSocket."""
    return await ws_connect(http, server)


@pytest.fixture(autouse=True)
def clean_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No test logs a traceback, the words of a client, or a task that nobody looked after."""
    caplog.set_level(logging.DEBUG)
    yield
    gc.collect(1)  # what a test leaves is young; a full collection takes longer than the test
    for record in [*caplog.get_records("call"), *caplog.get_records("teardown")]:
        assert not record.exc_info, record.exc_info
        assert "never retrieved" not in record.getMessage()
        assert WORDS not in record.getMessage()
