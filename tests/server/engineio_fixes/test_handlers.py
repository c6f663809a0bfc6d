"""Handlers that refuse, fail or are slow, and the names that clients cannot call."""

import asyncio
from typing import Any

import aiohttp
import pytest
import socketio
from aiohttp import ClientSession, ClientWebSocketResponse

from backend.server import engineio_fixes
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


@pytest.mark.parametrize("error", [RuntimeError(WORDS), TypeError(WORDS), KeyError(WORDS)])
async def test_a_failing_connect_handler_refuses_the_connection(
    http: ClientSession, server: Server, error: Exception
) -> None:
    """A connect handler that raises sends connect_error; nothing is left, and a retry works."""
    working = server.sio.handlers["/"]["connect"]

    async def failing(sid: str, environ: Any, auth: Any = None) -> None:
        raise error

    server.sio.on("connect", failing)
    ws = await ws_open(http, server)
    await ws.send_str("40")
    assert (await ws.receive_str(timeout=PATIENCE_S)).startswith('44{"message":"')
    assert server.sio.manager.rooms == {}
    server.sio.on("connect", working)
    await ws.send_str("40")
    assert (await ws.receive_str(timeout=PATIENCE_S)).startswith('40{"sid"')


async def test_a_refusal_says_why(http: ClientSession, server: Server) -> None:
    """A connect handler that refuses in words of its own has them sent."""

    async def refusing(sid: str, environ: Any, auth: Any = None) -> None:
        raise socketio.exceptions.ConnectionRefusedError("unauthorized")

    server.sio.on("connect", refusing)
    ws = await ws_open(http, server)
    await ws.send_str('40{"token":"x"}')
    assert await ws.receive_str(timeout=PATIENCE_S) == '44{"message":"unauthorized"}'


async def test_who_leaves_during_the_connect_handler_leaves_nothing(
    http: ClientSession, server: Server
) -> None:
    """A session that ends while its connect handler runs is disconnected after it."""
    entered, release = asyncio.Event(), asyncio.Event()

    async def slow(sid: str, environ: Any, auth: Any = None) -> None:
        entered.set()
        await release.wait()

    server.sio.on("connect", slow)
    polling = await Polling(http, server).open()
    connecting = asyncio.create_task(polling.post("40"))
    await asyncio.wait_for(entered.wait(), PATIENCE_S)
    await polling.post("1")
    release.set()
    await connecting
    assert server.sio.manager.rooms == {}
    await server.call("disconnect")
    assert server.calls.empty()


async def test_a_failing_disconnect_handler_leaves_nothing(
    server: Server, ws: ClientWebSocketResponse
) -> None:
    """A disconnect handler that raises does not keep the socket in the list of clients."""
    called = asyncio.Event()

    async def failing(sid: str, reason: str) -> None:
        called.set()
        raise RuntimeError(WORDS)

    server.sio.on("disconnect", failing)
    await ws.close()
    await asyncio.wait_for(called.wait(), PATIENCE_S)
    await server.turn()
    assert server.sio.manager.rooms == {}


async def test_a_failing_event_handler_is_one_log_line(
    server: Server, ws: ClientWebSocketResponse, caplog: pytest.LogCaptureFixture
) -> None:
    """An event handler that raises is logged by type and place, and the session goes on."""

    async def failing(sid: str) -> None:
        raise RuntimeError(WORDS)

    server.sio.on("fail", failing)
    await ws.send_str('42["fail"]')
    await assert_works(ws)
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "RuntimeError at " in line


@pytest.mark.parametrize(
    "name", ["connect", "disconnect", "connect_error", "disconnecting", "newListener"]
)
async def test_reserved_events_cannot_be_sent(
    server: Server, ws: ClientWebSocketResponse, name: str
) -> None:
    """An event with a name of the library ends the session and runs no handler."""
    await server.call("connect")
    await ws.send_str(f'42["{name}",1]')
    await ws_end(ws)
    assert await server.call("disconnect") == ("parse error",)
    assert server.calls.empty()


async def test_the_address_of_the_peer_is_known(server: Server) -> None:
    """A connect handler sees the address that the client connects from."""
    connector = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
    async with ClientSession(connector=connector) as http:
        await ws_connect(http, server)
        environ = (await server.call("connect"))[0]
    assert engineio_fixes.peer_address(environ) == "127.0.0.2"
    assert engineio_fixes.peer_address({}) == "unknown"


async def test_an_unknown_namespace_is_refused_in_the_words_of_node(
    server: Server, ws: ClientWebSocketResponse
) -> None:
    """A CONNECT to another namespace gets connect_error; the session goes on."""
    await ws.send_str('40/admin,{"token":"x"}')
    refusal = await ws.receive_str(timeout=PATIENCE_S)
    assert refusal == '44/admin,{"message":"Invalid namespace"}'
    await assert_works(ws)
