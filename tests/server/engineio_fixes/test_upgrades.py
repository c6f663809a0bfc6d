"""From polling to a WebSocket: whether it succeeds or fails, nothing is lost and nothing spins."""

import asyncio

import pytest
from aiohttp import ClientSession

from backend.server import engineio_fixes
from tests.server.engineio_fixes.raw_clients import (
    PATIENCE_S,
    Polling,
    Server,
    numbers_in,
    ws_connect,
    ws_end,
)


@pytest.mark.parametrize("end", ["cut", "close", "silence"])
@pytest.mark.parametrize(
    "frames",
    [
        pytest.param([], id="nothing"),
        pytest.param(["2probe"], id="probe"),
        pytest.param(["2probf"], id="wrong probe"),
        pytest.param([""], id="empty probe"),
        pytest.param([b"2probe"], id="binary probe"),
        pytest.param(["4" + "[" * 9999], id="nested probe"),
        pytest.param(["2probe", "2"], id="no upgrade"),
        pytest.param(["2probe", b""], id="binary upgrade"),
    ],
)
async def test_polling_goes_on_after_a_failed_upgrade(
    polling: Polling, frames: list[str | bytes], end: str
) -> None:
    """Whatever fails an upgrade, polls go on with nothing lost, and without spinning."""
    server = polling.server
    waiting = asyncio.create_task(polling.numbers(4, polls=6))
    await server.turn()
    async with ClientSession() as http:
        ws = await polling.knock(http)
        for number, frame in enumerate(frames):
            await (ws.send_str(frame) if isinstance(frame, str) else ws.send_bytes(frame))
            if number == 0 and frame == "2probe":
                assert await ws.receive_str(timeout=PATIENCE_S) == "3probe"
        await server.turn()
        await server.sio.emit("n", 0)
        await server.sio.emit("n", 1)
        if end == "close":
            await ws.close()
        elif end == "silence" and ws.close_code is None:
            await ws_end(ws)
    await server.turn()
    await server.sio.emit("n", 2)
    await server.sio.emit("n", 3)
    assert await waiting == [0, 1, 2, 3]
    assert server.sio.transport(server.sid) == "polling"


async def test_an_upgrade_succeeds_after_a_failed_one(polling: Polling) -> None:
    """An upgrade that was cut after its probe does not stand in the way of the next."""
    polling.server.sio.eio.upgrade_timeout = PATIENCE_S
    async with ClientSession() as http:
        ws = await polling.knock(http)
        await ws.send_str("2probe")
        assert await ws.receive_str(timeout=PATIENCE_S) == "3probe"
    await polling.server.turn()
    ws = await polling.knock(polling.http)
    await ws.send_str("2probe")
    assert await ws.receive_str(timeout=PATIENCE_S) == "3probe"
    await ws.send_str("5")
    await ws.send_str('429["ask"]')
    packets = [await ws.receive_str(timeout=PATIENCE_S)]
    if packets == ["6"]:
        packets = [await ws.receive_str(timeout=PATIENCE_S)]
    assert packets == ['439["ok"]']


async def test_a_second_upgrade_at_the_same_time_fails(polling: Polling) -> None:
    """Only one of two WebSockets that knock at once gets the session."""
    polling.server.sio.eio.upgrade_timeout = PATIENCE_S
    first, second = await polling.knock(polling.http), await polling.knock(polling.http)
    await first.send_str("2probe")
    assert await first.receive_str(timeout=PATIENCE_S) == "3probe"
    await second.send_str("2probe")
    assert await ws_end(second) == 1000
    await first.send_str("5")
    await first.send_str('429["ask"]')
    while (packet := await first.receive_str(timeout=PATIENCE_S)) == "6":
        pass
    assert packet == '439["ok"]'


async def test_a_poll_before_the_probe_waits(polling: Polling) -> None:
    """A WebSocket that has only been opened does not make polls return empty."""
    await polling.knock(polling.http)
    poll = asyncio.create_task(polling.poll())
    await polling.server.turn()
    assert not poll.done()
    await polling.server.sio.emit("n", 1)
    assert await poll == ['42["n",1]']


async def test_polls_during_an_upgrade_do_not_spin(http: ClientSession) -> None:
    """A poll that comes after the probe is held for a while, then answered with NOOP."""
    async with Server(upgrade_timeout=5.0).running() as server:
        polling = await Polling(http, server).connect()
        ws = await polling.knock(http)
        await ws.send_str("2probe")
        assert await ws.receive_str(timeout=PATIENCE_S) == "3probe"
        start = asyncio.get_running_loop().time()
        assert [await polling.poll() for _ in range(3)] == [["6"]] * 3
        assert asyncio.get_running_loop().time() - start >= 2 * engineio_fixes.NOOP_AFTER_S


@pytest.mark.parametrize("before", [0, 1, 50, 150])
async def test_a_stream_survives_an_upgrade(polling: Polling, before: int) -> None:
    """Numbers that stream through an upgrade arrive in order, none lost and none doubled."""
    server = polling.server
    server.sio.eio.upgrade_timeout = PATIENCE_S

    async def stream() -> None:
        for number in range(300):
            await server.sio.emit("n", number, to=server.sid)
            if number % 3 == 0:
                await engineio_fixes.outbox_drained(server.sio, server.sid)

    streaming = asyncio.create_task(stream())
    packets: list[str] = []
    while len(numbers_in(packets)) < before:
        packets += await polling.poll()
    ws = await polling.knock(polling.http)
    await ws.send_str("2probe")
    pong = asyncio.create_task(ws.receive_str(timeout=PATIENCE_S))
    while not pong.done():
        packets += await polling.poll()
    assert await pong == "3probe"
    await ws.send_str("5")
    while len(numbers_in(packets)) < 300:
        packets.append(await ws.receive_str(timeout=PATIENCE_S))
    await streaming
    assert numbers_in(packets) == list(range(300))
    assert server.sio.transport(server.sid) == "websocket"


async def test_deflate_is_off(http: ClientSession, server: Server) -> None:
    """A client that offers permessage-deflate does not get it."""
    ws = await ws_connect(http, server, compress=15)
    assert ws.compress == 0
