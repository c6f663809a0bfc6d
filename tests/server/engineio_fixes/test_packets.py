"""Packets that cannot be read end their session; all others are handled, or ignored as in Node."""

import asyncio
import logging

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse

from tests.server.engineio_fixes.raw_clients import (
    WORDS,
    Polling,
    Server,
    assert_works,
    ws_connect,
    ws_end,
)

BAD_PACKETS: dict[str, list[str | bytes]] = {
    "event without payload": ["42"],
    "event of an object": ["42{}"],
    "event without name": ["42[]"],
    "event of null": ["42null"],
    "event of a text": [f'42"{WORDS}"'],
    "event with a true name": ["42[true]"],
    "event with a null name": [f'42[null,"{WORDS}"]'],
    "event with an object as name": ["42[{}]"],
    "broken JSON": [f'42["ask","{WORDS}'],
    "deep JSON": ['42["ask",' + "[" * 100_000],
    "deep message": ["4" + "[" * 100_000],
    "long number": ['42["ask",' + "9" * 5000 + "]"],
    "long id": ["42" + "9" * 200 + '["ask"]'],
    "empty message": ["4"],
    "message of an object": ["4{}"],
    "message of a list": [f'4["{WORDS}"]'],
    "unknown type": ["49"],
    "connect error": ["44{}"],
    "second connect": ["40"],
    "connect with a list": ["40[1]"],
    "ack of an object": ["431{}"],
    "ack of nothing": ["430"],
    "no such engine packet": [f"9{WORDS}"],
    "no digit": [WORDS],
    "ping": ["2"],
    "unannounced attachment": [b"x"],
    "text for an attachment": ['451-["ask",{"_placeholder":true,"num":0}]', '42["ask"]'],
    "number of no attachment": ['451-["ask",{"_placeholder":true,"num":7}]', b"x"],
    "attachments for ever": ['4599999-["ask",{"_placeholder":true,"num":0}]'],
    "one attachment too many": ['4511-["ask",{"_placeholder":true,"num":0}]'],
}


@pytest.mark.parametrize("frames", BAD_PACKETS.values(), ids=BAD_PACKETS)
async def test_a_bad_packet_ends_a_websocket(
    server: Server,
    ws: ClientWebSocketResponse,
    frames: list[str | bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A packet that cannot be read ends the session with one line in the log, and no words."""
    for frame in frames:
        await (ws.send_str(frame) if isinstance(frame, str) else ws.send_bytes(frame))
    await ws_end(ws)
    assert await server.call("disconnect") == ("parse error",)
    assert server.calls.empty()
    assert len([record for record in caplog.records if record.levelno >= logging.INFO]) == 1


@pytest.mark.parametrize("body", ["", "42[]", "\x1e", "x", "4[" * 9000, b"\xff", "bQQ=="])
async def test_a_bad_packet_ends_a_polling_session(polling: Polling, body: str | bytes) -> None:
    """A body that cannot be read ends the session, and its pending poll at once."""
    poll = asyncio.create_task(polling.status())
    await polling.server.turn()
    assert await polling.post(body) == 200
    if body == "":
        await polling.server.sio.emit("n", 1)
        assert await poll == 200
        return
    assert await poll == 200
    assert await polling.server.call("disconnect") == ("parse error",)
    assert await polling.status() == 400
    assert await polling.post('42["ask"]') == 400


async def test_what_follows_a_bad_packet_is_not_run(polling: Polling) -> None:
    """The packets behind a bad one in the same body do not reach a handler."""
    await polling.post('42[]\x1e42["ask"]')
    await polling.server.call("disconnect")
    assert polling.server.calls.empty()


async def test_a_message_beyond_the_bound_ends_a_websocket(http: ClientSession) -> None:
    """A WebSocket message that is too large is refused with the code for that."""
    async with Server(max_message_bytes=1000).running() as server:
        ws = await ws_connect(http, server)
        await ws.send_str("4" * 1001)
        assert await ws_end(ws) == 1009


@pytest.mark.parametrize("packet", ["42[1]", '42["nobody listens",1]', '435["no such call"]'])
async def test_harmless_packets_are_ignored(
    server: Server, ws: ClientWebSocketResponse, packet: str
) -> None:
    """A valid packet that nobody waits for does nothing, as in Node."""
    await ws.send_str(packet)
    await assert_works(ws)


async def test_binary_events_work(server: Server, ws: ClientWebSocketResponse) -> None:
    """An event runs when its attachments have come, one that announces none at once."""
    await ws.send_str('450-["ask",1]')
    assert await server.call("ask") == (1,)
    await ws.send_str('452-["ask",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]')
    await ws.send_bytes(b"a")
    await ws.send_bytes(b"")
    assert await server.call("ask") == (b"", b"a")
