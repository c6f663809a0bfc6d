"""The transport: a test for each defect of the stock driver, and the good things that must stay.

Clients are raw on purpose: a library would hide, retry or never send what is tested here.
"""

import asyncio
import gc
import inspect
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

import aiohttp
import engineio
import pytest
import socketio
from aiohttp import ClientSession, ClientWebSocketResponse, web
from engineio.async_drivers import aiohttp as driver
from engineio.async_socket import AsyncSocket
from engineio.packet import Packet as EnginePacket
from engineio.payload import Payload
from socketio.packet import Packet as SocketPacket

from backend.server import engineio_fixes
from backend.server.engineio_fixes.session import PACKETS_AT_ONCE

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


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    """An HTTP client."""
    async with ClientSession() as session:
        yield session


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A running server."""
    async with Server(upgrade_timeout=0.2).running() as server:
        yield server


@pytest.fixture
async def polling(http: ClientSession, server: Server) -> Polling:
    """A client that polls."""
    return await Polling(http, server).connect()


@pytest.fixture
async def ws(http: ClientSession, server: Server) -> ClientWebSocketResponse:
    """A client on a WebSocket."""
    return await ws_connect(http, server)


@pytest.fixture(autouse=True)
def clean_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No test logs a traceback, the words of a client, or a task that nobody looked after."""
    caplog.set_level(logging.DEBUG)
    yield
    gc.collect(1)  # what a test leaves is young; a full collection takes longer than the test
    for record in [*caplog.get_records("call"), *caplog.get_records("teardown")]:
        assert not record.exc_info, record.exc_info
        assert "never retrieved" not in record.getMessage()
        assert WORDS not in record.getMessage()


# Polling POSTs


async def raw_post(polling: Polling, headers: str, *pieces: bytes) -> str:
    """POST a body in pieces, each handled by the server before the next; the status line."""
    reader, writer = await asyncio.open_connection("127.0.0.1", polling.server.port)
    writer.write(f"POST {polling.path} HTTP/1.1\r\nHost: test\r\n{headers}\r\n\r\n".encode())
    for piece in pieces:
        writer.write(piece)
        await polling.server.turn()
    async with asyncio.timeout(PATIENCE_S):
        status = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return status.decode()


async def test_a_body_in_two_segments_arrives_whole(polling: Polling) -> None:
    """A POST that arrives in two TCP segments runs its handler once, with all of it."""
    body = b'42["ask","' + b"x" * 1500 + b'"]'
    length = f"Content-Length: {len(body)}"
    assert "200" in await raw_post(polling, length, body[:700], body[700:])
    assert await polling.server.call("ask") == ("x" * 1500,)
    assert polling.server.calls.empty()


async def test_a_large_body_arrives_whole(polling: Polling) -> None:
    """A POST of 300 kB, more than one read returns, runs its handler with all of it."""
    assert await polling.post(f'42["ask","{"x" * 300_000}"]') == 200
    assert await polling.server.call("ask") == ("x" * 300_000,)


async def test_a_chunked_body_arrives_whole(polling: Polling) -> None:
    """A POST that does not announce its length is read until its end."""
    chunked = b'a\r\n42["ask","\r\n', b'3\r\nx"]\r\n', b"0\r\n\r\n"
    assert "200" in await raw_post(polling, "Transfer-Encoding: chunked", *chunked)
    assert await polling.server.call("ask") == ("x",)


async def test_a_body_beyond_the_bound_is_refused(http: ClientSession) -> None:
    """A POST beyond the bound is answered with 413, announced or not; the session goes on."""
    async with Server(max_message_bytes=1000).running() as server:
        polling = await Polling(http, server).connect()
        assert await polling.post("4" * 1001) == 413
        chunk = b"3e9\r\n" + b"4" * 1001 + b"\r\n0\r\n\r\n"
        assert "413" in await raw_post(polling, "Transfer-Encoding: chunked", chunk)
        assert await polling.post('42["ask"]') == 200
        await server.call("ask")


async def test_a_body_that_breaks_off_is_no_packet(polling: Polling) -> None:
    """A POST whose connection is cut half way runs nothing, and leaves no traceback."""
    _, writer = await asyncio.open_connection("127.0.0.1", polling.server.port)
    request = f"POST {polling.path} HTTP/1.1\r\nHost: test\r\nContent-Length: 99\r\n\r\n"
    writer.write(request.encode() + b'42["ask"]')
    await polling.server.turn()
    writer.transport.abort()
    with suppress(ConnectionError):
        await writer.wait_closed()
    await polling.server.call("connect")
    await polling.server.turn()
    assert polling.server.calls.empty()


async def test_hundreds_of_packets_in_one_post_all_run(polling: Polling) -> None:
    """A POST of 300 events, as after a time offline, runs each of them, in order."""
    body = "\x1e".join(f'42["ask",{number}]' for number in range(300))
    assert await polling.post(body) == 200
    assert [await polling.server.call("ask") for _ in range(300)] == [(n,) for n in range(300)]


async def test_too_many_packets_in_one_post_are_not_lost_silently(polling: Polling) -> None:
    """A POST with more packets than the bound ends the session, which its client sees."""
    await polling.post("\x1e".join(['42["ask"]'] * (engineio_fixes.PACKETS_PER_POST + 1)))
    assert await polling.server.call("disconnect") == ("parse error",)
    assert await polling.status() == 400


# Upgrades


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


# Shutdown


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


# The outbox


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


# Sessions and handlers


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


async def test_overlapping_polls_end_the_session(polling: Polling) -> None:
    """Two polls at once, which would split the stream between them, end the session."""
    first = asyncio.create_task(polling.status())
    await polling.server.turn()
    assert await polling.status() == 400
    assert await first == 200
    assert await polling.status() == 400


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


# The library


@pytest.mark.parametrize(
    ("owner", "name", "parameters"),
    [
        (AsyncSocket, "close", "wait abort reason"),
        (AsyncSocket, "handle_get_request", "environ"),
        (AsyncSocket, "handle_post_request", "environ"),
        (AsyncSocket, "poll", ""),
        (AsyncSocket, "receive", "pkt"),
        (AsyncSocket, "schedule_ping", ""),
        (AsyncSocket, "send", "pkt"),
        (AsyncSocket, "_upgrade_websocket", "environ"),
        (engineio.AsyncServer, "start_background_task", "target args kwargs"),
        (engineio.AsyncServer, "_bad_request", "message"),
        (engineio.AsyncServer, "_log_error_once", "message message_key"),
        (socketio.AsyncServer, "_engineio_server_class", ""),
        (socketio.AsyncServer, "_handle_connect", "eio_sid namespace data"),
        (socketio.AsyncServer, "_handle_disconnect", "eio_sid namespace reason"),
        (socketio.AsyncServer, "_handle_eio_connect", "eio_sid environ"),
        (socketio.AsyncServer, "_handle_eio_disconnect", "eio_sid reason"),
        (socketio.AsyncServer, "_handle_eio_message", "eio_sid data"),
        (socketio.AsyncServer, "_send_packet", "eio_sid pkt"),
        (socketio.AsyncServer, "_trigger_event", "event namespace args"),
        (
            socketio.AsyncManager,
            "emit",
            "event data namespace room skip_sid callback to kwargs",
        ),
        (socketio.AsyncManager, "eio_sid_from_sid", "sid namespace"),
        (socketio.AsyncManager, "sid_from_eio_sid", "eio_sid namespace"),
        (SocketPacket, "decode", "encoded_packet"),
        (EnginePacket, "encode", "b64"),
    ],
)
def test_the_methods_we_replace_are_still_there(owner: type, name: str, parameters: str) -> None:
    """Every method of the library that the transport replaces or calls has its known shape."""
    method = getattr(owner, name)
    assert list(inspect.signature(method).parameters) == ["self", *parameters.split()]


async def test_the_attributes_we_use_are_still_there() -> None:
    """Every attribute of the library that the transport reads or sets exists."""
    sio = socketio.AsyncServer(async_mode="aiohttp")
    session = AsyncSocket(sio.eio, "sid")
    assert vars(sio).keys() >= {"eio", "environ", "handlers", "manager", "_binary_packet"}
    assert vars(sio.eio).keys() >= {
        "_async", "handlers", "max_http_buffer_size", "ping_interval", "ping_timeout", "sockets",
    }  # fmt: skip
    assert vars(session).keys() >= {
        "closed", "closing", "connected", "last_ping", "queue", "server", "sid", "upgraded",
        "upgrading",
    }  # fmt: skip
    assert vars(sio.eio)["_async"]["translate_request"] is driver.translate_request
    assert isinstance(session.queue, asyncio.Queue)
    assert Payload.max_decode_packets < engineio_fixes.PACKETS_PER_POST


# Floods


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
