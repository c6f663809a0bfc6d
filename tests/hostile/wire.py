"""Bytes as no library would send them: raw HTTP, and WebSocket frames by hand."""

import asyncio
import base64
import contextlib
import json
import struct
from collections.abc import AsyncIterator
from typing import Self

PATIENCE_S = 10.0  # all that is waited for comes at once; this is for machines under load

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
)
SESSION = "/socket.io/?EIO=4&transport="


class Wire:
    """A TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Send as much as the other side takes; that it has hung up shows when we read."""
        self.writer.write(data)
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()

    async def rest(self) -> bytes:
        """Everything until the other side hangs up."""
        gathered = bytearray()
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(PATIENCE_S):
                while piece := await self.reader.read(65_536):
                    gathered += piece
        return bytes(gathered)

    async def head(self) -> bytes:
        """The status line and the headers of a response."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def begin(self) -> Self:
        """Open a session with a WebSocket, by hand."""
        key = base64.b64encode(bytes(16)).decode()
        await self.send(HANDSHAKE.format(path=SESSION + "websocket", key=key).encode())
        assert b" 101 " in await self.head()
        assert (await self.text()).startswith("0{")
        return self

    async def join(self) -> Self:
        """Open a session and connect to the namespace."""
        await self.begin()
        await self.send(frame(TEXT, b"40"))
        assert (await self.text()).startswith("40{")
        return self

    async def frame(self) -> tuple[int, bytes]:
        """The next frame of the server: its opcode and its payload."""
        async with asyncio.timeout(PATIENCE_S):
            first, length = await self.reader.readexactly(2)
            if length == 126:
                (length,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif length == 127:
                (length,) = struct.unpack("!Q", await self.reader.readexactly(8))
            return first & 0x0F, await self.reader.readexactly(length)

    async def text(self) -> str:
        """The next frame, which has to be a text."""
        opcode, payload = await self.frame()
        assert opcode == TEXT, (opcode, payload)
        return payload.decode()

    async def closed_with(self) -> int | None:
        """Read to the end; the code of the close frame, None where there was none."""
        code = None
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                opcode, payload = await self.frame()
                if opcode == CLOSE and len(payload) >= 2:
                    code = struct.unpack("!H", payload[:2])[0]
        return code


def frame(
    opcode: int, payload: bytes, *, fin: bool = True, mask: bool = True, rsv: int = 0
) -> bytes:
    """A frame as a client sends it; the mask is zero, so that the payload can be read."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    bit = 0x80 if mask else 0
    if len(payload) < 126:
        head = struct.pack("!BB", first, bit | len(payload))
    elif len(payload) < 65_536:
        head = struct.pack("!BBH", first, bit | 126, len(payload))
    else:
        head = struct.pack("!BBQ", first, bit | 127, len(payload))
    return head + (bytes(4) if mask else b"") + payload


def event(name: str, payload: object, number: int | str = "") -> bytes:
    """An event as the frame of a WebSocket."""
    return frame(TEXT, f"42{number}{json.dumps([name, payload])}".encode())


@contextlib.asynccontextmanager
async def wired(port: int) -> AsyncIterator[Wire]:
    """A connection to a server on this machine, cut off in the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


async def exchange(port: int, data: bytes) -> bytes:
    """Send this on a connection of its own; everything until the server ends that."""
    async with wired(port) as wire:
        await wire.send(data)
        return await wire.rest()
