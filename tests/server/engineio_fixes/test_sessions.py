"""The life of a session: who never connects, answers no ping, or polls twice is dropped."""

import asyncio
import logging

import pytest
from aiohttp import ClientSession

from tests.server.engineio_fixes.raw_clients import (
    PATIENCE_S,
    WORDS,
    Polling,
    Server,
    assert_works,
    ws_connect,
    ws_end,
    ws_open,
)


async def test_who_never_connects_is_dropped(http: ClientSession) -> None:
    """A session without a CONNECT packet ends after the connect timeout, others do not."""
    async with Server(connect_timeout=1.0).running() as server:
        connected = await ws_connect(http, server)
        assert await ws_end(await ws_open(http, server)) == 1000
        silent = await Polling(http, server).open()
        assert await silent.poll() == ["6"]
        assert await silent.status() == 400
        await assert_works(connected)


async def test_who_answers_no_ping_is_dropped(http: ClientSession) -> None:
    """A client that answers its pings stays, one that stops is closed after the timeout."""
    async with Server(ping_interval=0.5, ping_timeout=0.5).running() as server:
        polling = await Polling(http, server).connect()
        assert await polling.poll() == ["2"]
        assert await polling.poll() == ["6"]
        assert await polling.status() == 400
        assert await server.call("disconnect") == ("ping timeout",)
        ws = await ws_connect(http, server)
        for _ in range(2):
            assert await ws.receive_str(timeout=PATIENCE_S) == "2"
            await ws.send_str("3")
        assert await server.call("disconnect") == ("ping timeout",)
        assert await ws_end(ws) == 1000
        assert server.sio.eio.sockets == {}


async def test_a_ping_that_cannot_be_answered_is_no_fault(
    http: ClientSession, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that is cut while WebSocket's own pings are answered leaves no error."""
    ws = await ws_connect(http, server)
    (session,) = server.sio.eio.sockets.values()
    for _ in range(100):
        await ws.ping(b"x" * 100)
    session.tcp.abort()
    await server.call("disconnect")
    await server.turn()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_overlapping_polls_end_the_session(polling: Polling) -> None:
    """Two polls at once, which would split the stream between them, end the session."""
    first = asyncio.create_task(polling.status())
    await polling.server.turn()
    assert await polling.status() == 400
    assert await first == 200
    assert await polling.status() == 400


async def test_the_path_needs_no_slash_at_its_end(http: ClientSession, server: Server) -> None:
    """A client that is told to leave out the slash is served as well."""
    async with http.get(f"{server.url}/socket.io?EIO=4&transport=polling") as response:
        assert response.status == 200


async def test_stale_sessions_are_no_error_of_ours(
    http: ClientSession, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """A poll with an unknown session id is refused, and its words stay out of the log."""
    url = f"{server.url}/socket.io/?EIO=4&transport=polling&sid={WORDS}"
    async with http.get(url) as response:
        assert response.status == 400
    assert not [record for record in caplog.records if record.levelno >= logging.INFO]
