"""The outbox of a socket, which is what backpressure measures, and emits into it."""

import asyncio
from typing import Any

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse

from backend.server import engineio_fixes
from tests.server.engineio_fixes.raw_clients import PATIENCE_S, Polling, Server, ws_connect


async def test_the_outbox_of_a_polling_client_is_drained_by_a_poll(polling: Polling) -> None:
    """What was emitted counts until a poll takes it, and waiting for that ends then."""
    server = polling.server
    for number in range(3):
        await server.sio.emit("n", number, to=server.sid)
    assert engineio_fixes.outbox_size(server.sio, server.sid) == 3
    drained = asyncio.create_task(engineio_fixes.outbox_drained(server.sio, server.sid))
    await server.turn()
    assert not drained.done()
    assert await polling.numbers(3, polls=1) == [0, 1, 2]
    await asyncio.wait_for(drained, PATIENCE_S)
    assert engineio_fixes.outbox_size(server.sio, server.sid) == 0


async def test_the_outbox_of_a_websocket_is_drained_by_its_reader(
    server: Server, ws: ClientWebSocketResponse
) -> None:
    """What a client does not read stays in the outbox; when it reads, the outbox drains."""
    for _ in range(20):
        await server.sio.emit("n", "x" * 1_000_000, to=server.sid)
    drained = asyncio.create_task(engineio_fixes.outbox_drained(server.sio, server.sid))
    await server.turn()
    assert engineio_fixes.outbox_size(server.sio, server.sid) > 5
    assert not drained.done()
    for _ in range(20):
        await ws.receive_str(timeout=PATIENCE_S)
    await asyncio.wait_for(drained, PATIENCE_S)


@pytest.mark.parametrize("how", ["leaves", "is cut", "is dropped"])
async def test_waiting_for_the_outbox_ends_with_the_websocket(server: Server, how: str) -> None:
    """Nobody waits for a frozen client that has gone, in whichever way."""
    async with ClientSession() as http:
        ws = await ws_connect(http, server)
        for _ in range(20):
            await server.sio.emit("n", "x" * 1_000_000, to=server.sid)
        drained = asyncio.create_task(engineio_fixes.outbox_drained(server.sio, server.sid))
        await server.turn()
        assert not drained.done()
        if how == "leaves":
            await ws.close()
        elif how == "is dropped":
            await ws.send_str("bad packet")
            await asyncio.wait_for(drained, PATIENCE_S)
    await asyncio.wait_for(drained, PATIENCE_S)
    await server.call("disconnect")
    assert server.sio.eio.sockets == {}


async def test_waiting_for_the_outbox_ends_with_the_polling_session(polling: Polling) -> None:
    """Nobody waits for a polling client that has said goodbye between its polls."""
    await polling.server.sio.emit("n", 1)
    waiting = engineio_fixes.outbox_drained(polling.server.sio, polling.server.sid)
    drained = asyncio.create_task(waiting)
    await polling.post("1")
    await asyncio.wait_for(drained, PATIENCE_S)


async def test_nobody_has_an_empty_outbox(server: Server) -> None:
    """A socket that does not exist has nothing in its outbox, and is not waited for."""
    assert engineio_fixes.outbox_size(server.sio, "nobody") == 0
    await asyncio.wait_for(engineio_fixes.outbox_drained(server.sio, "nobody"), PATIENCE_S)
    await server.sio.emit("n", 1, to="nobody")


async def test_an_emit_to_one_socket_starts_no_task(server: Server, polling: Polling) -> None:
    """An emit to one socket ends in the same step of the loop in which it began."""
    emit = server.sio.emit("n", (1, {"x": 2}), to=server.sid)
    with pytest.raises(StopIteration):
        emit.send(None)
    assert await polling.poll() == ['42["n",1,{"x":2}]']


@pytest.mark.parametrize(
    "data",
    [None, "é \u2028 \ud83e\udd8a", 1, True, ["a", 1], {"a": None}, ("a", {"b": [1.5]}), ()],
    ids=repr,
)
async def test_an_emit_to_one_socket_reads_as_one_to_all(
    server: Server, ws: ClientWebSocketResponse, data: Any
) -> None:
    """The short way to one socket sends the very packet that the library's own way does."""
    await server.sio.emit("n", data, to=server.sid)
    await server.sio.emit("n", data)
    packets = [await ws.receive_str(timeout=PATIENCE_S) for _ in range(2)]
    assert packets[0] == packets[1]


async def test_bytes_are_attachments(server: Server, ws: ClientWebSocketResponse) -> None:
    """What holds bytes is sent in several parts, to one socket as to all."""
    await server.sio.emit("n", {"a": b"x"}, to=server.sid)
    packet = '451-["n",{"a":{"_placeholder":true,"num":0}}]'
    assert await ws.receive_str(timeout=PATIENCE_S) == packet
    assert await ws.receive_bytes(timeout=PATIENCE_S) == b"x"


async def test_an_emit_with_a_callback_is_acknowledged(
    server: Server, ws: ClientWebSocketResponse
) -> None:
    """A call to a client returns what the client acknowledges."""
    call = asyncio.create_task(server.sio.call("n", 1, to=server.sid, timeout=PATIENCE_S))
    assert await ws.receive_str(timeout=PATIENCE_S) == '421["n",1]'
    await ws.send_str('431["yes"]')
    assert await call == "yes"
