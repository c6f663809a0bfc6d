"""Shutdown: prompt whoever is connected, and clients come back."""

import asyncio
from contextlib import suppress

import pytest
import socketio
from aiohttp import ClientSession, ClientWebSocketResponse

from tests.server.engineio_fixes.raw_clients import Polling, Server, numbers_in, ws_connect, ws_end


def library_tasks() -> list[str]:
    """List the tasks that run code of the transport or the library."""
    return [
        str(task)
        for task in asyncio.all_tasks()
        if any(name in str(task) for name in ("AsyncSe", "AsyncSo", "_Engine", "_Session"))
    ]


async def test_shutdown_is_prompt_whoever_is_connected(http: ClientSession) -> None:
    """Within a second a server ends idle, stuck and half-open clients, and keeps no task."""
    async with Server().running() as server:
        frozen = await ws_connect(http, server)
        for _ in range(20):
            await server.sio.emit("n", "x" * 1_000_000)
        ws = await ws_connect(http, server)
        polling = await Polling(http, server).connect()
        poll = asyncio.create_task(polling.poll())
        knocking = await Polling(http, server).connect()
        probe = await knocking.knock(http)
        ends = [asyncio.create_task(ws_end(each)) for each in (ws, probe)]
        idle = await Polling(http, server).connect()
        trickle, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = f"POST {idle.path} HTTP/1.1\r\nHost: test\r\nContent-Length: 99\r\n\r\n4"
        writer.write(head.encode())
        await server.turn()
        start = asyncio.get_running_loop().time()
        await server.runner.cleanup()
        assert asyncio.get_running_loop().time() - start < 1.0
        assert library_tasks() == []
        assert [await end for end in ends] == [1001, 1001]
        assert await poll == ["6"]
        assert await trickle.read() == b""
        writer.close()
        await frozen.close()
        for _ in range(5):
            assert await server.call("disconnect") == ("server shutting down",)


async def test_shutdown_with_nobody_connected(server: Server) -> None:
    """A server that nobody is connected to shuts down without an error."""
    await server.runner.cleanup()


async def test_what_was_sent_before_a_shutdown_arrives(
    server: Server, ws: ClientWebSocketResponse
) -> None:
    """What stands in the outbox of a WebSocket at shutdown is written before it is closed."""
    for number in range(50):
        await server.sio.emit("n", number)
    shutdown = asyncio.create_task(server.runner.cleanup())
    packets = [message.data async for message in ws]
    await shutdown
    assert numbers_in(packets) == list(range(50))
    assert ws.close_code == 1001


@pytest.mark.parametrize(
    "transports", [["polling"], ["websocket"], ["polling", "websocket"]], ids="-".join
)
async def test_clients_reconnect_after_a_shutdown(transports: list[str]) -> None:
    """A client of the library reconnects by itself when its server comes back."""
    client = socketio.AsyncClient(reconnection_delay=0.05, randomization_factor=0)
    try:
        async with Server().running() as server:
            await client.connect(server.url, transports=transports)
        async with Server(port=server.port).running() as successor:
            await successor.call("connect")
    finally:
        with suppress(asyncio.CancelledError):
            await client.shutdown()
