"""Clients that send too much, or leave what they asked for unread."""

import asyncio

import pytest
from aiohttp import ClientSession

from backend.server.engineio_fixes.session import PACKETS_AT_ONCE
from tests.server.engineio_fixes.raw_clients import Polling, Server, assert_works, ws_connect


async def test_a_flood_leaves_time_for_others(server: Server, http: ClientSession) -> None:
    """Who sends thousands of packets at once is heard in part, and others are heard meanwhile."""
    loud, quiet = await ws_connect(http, server), await ws_connect(http, server)
    for _ in range(3 * PACKETS_AT_ONCE):
        await loud.send_str('42["ask"]')
    for _ in range(5):
        await assert_works(quiet)
    assert server.calls.qsize() < 2 * PACKETS_AT_ONCE


async def test_who_does_not_read_is_not_heard(
    polling: Polling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packets that would be answered wait while a client leaves the answers unread."""
    monkeypatch.setattr("backend.server.engineio_fixes.session.UNREAD_PACKETS", 10)
    refused = asyncio.create_task(polling.post("\x1e".join(["40/x,"] * 100)))
    await polling.server.turn()
    (session,) = polling.server.sio.eio.sockets.values()
    assert session.queue.qsize() == 11
    assert not refused.done()
    packets: list[str] = []
    while len(packets) < 100:
        packets += await polling.poll()
    assert packets == ['44/x,{"message":"Invalid namespace"}'] * 100
    assert await refused == 200


async def test_who_is_not_heard_can_be_ended(
    polling: Polling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that waits for its client to read ends with its heartbeat all the same."""
    monkeypatch.setattr("backend.server.engineio_fixes.session.UNREAD_PACKETS", 0)
    (session,) = polling.server.sio.eio.sockets.values()
    heard = asyncio.create_task(polling.post("40/x,\x1e40/x,"))
    await polling.server.turn()
    assert not heard.done()
    session.end("ping timeout")
    assert await heard == 200
    assert not polling.server.sio.eio.sockets
