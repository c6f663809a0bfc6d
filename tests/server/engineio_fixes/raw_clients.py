"""A server of the transport, and clients that are raw on purpose.

A library would hide, retry or never send what is tested here.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

from aiohttp import ClientSession, ClientWebSocketResponse, web

from backend.server import engineio_fixes

PATIENCE_S = 20.0  # all that is waited for comes at once; this is for machines under load
WORDS = "somebodys-words"


class Server:
    """A real server on a port of its own; the calls of its handlers gather in `calls`."""

    def __init__(self, port: int = 0, **options: Any) -> None:
        self.sio = engineio_fixes.create_socket_server(**options)
        self.port = port
        self.calls: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
        for event in ("connect", "disconnect", "ask"):
            self.sio.on(event, self._handler(event))

    def _handler(self, event: str) -> Callable[..., Any]:
        async def handler(sid: str, *args: Any) -> str:
            self.calls.put_nowait((event, *args))
            return "ok"

        return handler

    @property
    def url(self) -> str:
        """Where it is served."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def sid(self) -> str:
        """The Socket.IO id of the only client."""
        (sid,) = self.sio.manager.rooms["/"][None]
        return str(sid)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Serve, and shut down at the end."""
        app = web.Application()
        engineio_fixes.attach(self.sio, app)
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=2)
        await self.runner.setup()
        try:
            await web.TCPSite(self.runner, "127.0.0.1", self.port).start()
            self.port = self.runner.addresses[0][1]
            yield self
        finally:
            await self.runner.cleanup()

    async def call(self, event: str) -> tuple[Any, ...]:
        """The arguments of the next call of a handler; those of others are passed over."""
        async with asyncio.timeout(PATIENCE_S):
            while (call := await self.calls.get())[0] != event:
                pass
        return call[1:]

    async def turn(self) -> None:
        """Let the server handle what was sent to it before."""
        for _ in range(3):
            async with ClientSession() as http, http.get(self.url) as response:
                assert response.status == 404


class Polling:
    """An Engine.IO client that polls, and may knock with a WebSocket."""

    def __init__(self, http: ClientSession, server: Server) -> None:
        self.http = http
        self.server = server
        self.path = "/socket.io/?EIO=4&transport=polling"

    @property
    def url(self) -> str:
        """Where it polls."""
        return self.server.url + self.path

    async def open(self) -> Self:
        """Begin a session."""
        (packet,) = await self.poll()
        self.path += f"&sid={json.loads(packet[1:])['sid']}"
        return self

    async def connect(self) -> Self:
        """Begin a session and connect to the namespace."""
        await self.open()
        assert await self.post("40") == 200
        (packet,) = await self.poll()
        assert packet.startswith('40{"sid"')
        return self

    async def poll(self) -> list[str]:
        """Poll once; the packets."""
        async with asyncio.timeout(PATIENCE_S), self.http.get(self.url) as response:
            assert response.status == 200
            return (await response.text()).split("\x1e")

    async def status(self) -> int:
        """The status of a poll."""
        async with asyncio.timeout(PATIENCE_S), self.http.get(self.url) as response:
            return response.status

    async def post(self, body: str | bytes) -> int:
        """Send packets; the status."""
        async with asyncio.timeout(PATIENCE_S), self.http.post(self.url, data=body) as response:
            return response.status

    async def numbers(self, count: int, polls: int) -> list[int]:
        """So many numbers that the server emitted, taken with at most so many polls."""
        packets: list[str] = []
        for _ in range(polls):
            packets += await self.poll()
            if len(numbers_in(packets)) >= count:
                break
        return numbers_in(packets)

    async def knock(self, http: ClientSession) -> ClientWebSocketResponse:
        """Open a WebSocket for the session."""
        return await http.ws_connect(self.url.replace("polling", "websocket"))


def numbers_in(packets: list[str]) -> list[int]:
    """Read the numbers that the server emitted."""
    return [json.loads(packet[2:])[1] for packet in packets if packet.startswith('42["n"')]


async def ws_open(http: ClientSession, server: Server, **options: Any) -> ClientWebSocketResponse:
    """Begin a session with a WebSocket."""
    url = f"{server.url}/socket.io/?EIO=4&transport=websocket"
    ws: ClientWebSocketResponse = await http.ws_connect(url, **options)
    assert (await ws.receive_str(timeout=PATIENCE_S)).startswith("0{")
    return ws


async def ws_connect(
    http: ClientSession, server: Server, **options: Any
) -> ClientWebSocketResponse:
    """Begin a session with a WebSocket and connect to the namespace."""
    ws = await ws_open(http, server, **options)
    await ws.send_str("40")
    assert (await ws.receive_str(timeout=PATIENCE_S)).startswith('40{"sid"')
    return ws


async def ws_end(ws: ClientWebSocketResponse) -> int | None:
    """Read a WebSocket until the server ends it; the close code."""
    async with asyncio.timeout(PATIENCE_S):
        async for _ in ws:
            pass
    return ws.close_code


async def assert_works(ws: ClientWebSocketResponse) -> None:
    """Check that an event is acknowledged."""
    await ws.send_str('429["ask"]')
    assert await ws.receive_str(timeout=PATIENCE_S) == '439["ok"]'
