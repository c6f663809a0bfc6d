"""Backpressure: a socket that does not read costs bounded memory, and loses nothing."""

import asyncio
import socket
from typing import Any

import aiohttp
import pytest
from aiohttp import ClientSession

from backend.server import engineio_fixes
from backend.server.socket_outbox import HIGH_WATER_PACKETS
from tests.fakes.told_backend import Backend, Client, connected, open_socket


def small_socket(info: Any) -> socket.socket:
    """A socket that holds little of what its owner has not read yet."""
    made = socket.socket(info[0], info[1], info[2])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.setblocking(False)
    return made


async def test_a_frozen_socket_costs_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a socket does not read, few packets wait for it; then it gets all, in order."""
    servers = []
    create = engineio_fixes.create_socket_server

    def remembered(**options: Any) -> Any:
        servers.append(create(**options))
        return servers[-1]

    monkeypatch.setattr(engineio_fixes, "create_socket_server", remembered)
    pieces = [f"piece {number} {'x' * 80}\n" for number in range(5_000)]
    connector = aiohttp.TCPConnector(socket_factory=small_socket)
    async with (
        Backend().running() as backend,
        ClientSession(connector=connector) as http,
        await open_socket(http, backend.url) as ws,
    ):
        (sio,) = servers
        (frozen_sid,) = sio.manager.rooms["/"][None]
        frozen = Client(ws)
        async with connected(backend.url) as quick:
            question_id = await quick.ask("What?")
            await frozen.send("resumeQuestion", {"questionId": question_id})
            longest = 0
            for number, piece in enumerate(pieces):
                backend.chain.say("What?", piece)
                await quick.until(lambda number=number: len(quick.chunks) > number + 1)  # type: ignore[misc]
                longest = max(longest, engineio_fixes.outbox_size(sio, frozen_sid))
            backend.chain.finish("What?")
            await quick.ended(question_id)
        assert HIGH_WATER_PACKETS <= longest <= HIGH_WATER_PACKETS + 1
        reading = asyncio.create_task(frozen.listen())
        await frozen.ended(question_id)
        assert frozen.text(question_id) == "".join(pieces)
        assert frozen.chunks == quick.chunks
    await reading
