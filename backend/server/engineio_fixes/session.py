"""One Engine.IO session: its outbox, its heartbeat, its two transports and the way between them."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from aiohttp import web
from engineio import packet as eio_packet
from engineio.async_socket import AsyncSocket
from engineio.exceptions import EngineIOError, QueueEmpty
from engineio.packet import Packet
from engineio.payload import Payload

from ...protocol.errors import origin
from .engine import FLUSH_S, Engine, Environ

PACKETS_PER_POST = 10_000  # Node has no bound but the body's size; these take about 50 ms
# What one client may send: so many packets at once, as after a time offline, and then so many
# a second; our page sends a few. One takes up to 0.2 ms, so nobody gets more than 4 % of a core.
PACKETS_AT_ONCE = 1_000
PACKETS_PER_S = 200
UNREAD_PACKETS = 1_000  # far more than our readers let gather; who leaves these unread is not heard
NOOP_AFTER_S = 0.1  # polls during an upgrade are held so long, as in Node: 10 requests/s, not 400

logger = logging.getLogger(__name__)


class Session(AsyncSocket):  # type: ignore[misc]  # the library has no types
    """An Engine.IO session. None at the end of its outbox ends whoever empties that."""

    server: Engine
    connected: bool
    upgrading: bool
    upgraded: bool
    queue: asyncio.Queue[Packet | None]
    polling = False  # a poll waits for packets
    settled: asyncio.Event  # the upgrade under way has succeeded or failed
    deadline: asyncio.TimerHandle | None = None  # of its CONNECT packet; after closing, of its TCP
    heartbeat: asyncio.TimerHandle | None = None
    tcp: asyncio.WriteTransport | None = None
    turn = 0.0  # loop time at which as many packets as came may have come, at PACKETS_PER_S

    def start(self, connect_timeout_s: float, check: Callable[["Session"], None]) -> None:
        """Do what a constructor would; `check` is called when a CONNECT packet is overdue."""
        self.last_ping = None  # the stock clock; ours is the heartbeat
        self.deadline = asyncio.get_running_loop().call_later(connect_timeout_s, check, self)

    def schedule_ping(self) -> None:
        """Ping after an interval, and end the session if no PONG comes (which calls this again).

        Stock sleeps in an unkept task and lets one more task look at every session in turn, which
        drops a dead one up to twice as late as Node and keeps its TCP connection for ever.
        """
        self._arm(self.server.ping_interval, self._ping)

    def _ping(self) -> None:
        self.queue.put_nowait(Packet(eio_packet.PING))
        self._arm(self.server.ping_timeout, self.end, self.server.reason.PING_TIMEOUT)

    def _arm(self, seconds: float, callback: Callable[..., None], *args: str) -> None:
        if self.heartbeat:
            self.heartbeat.cancel()
        self.heartbeat = asyncio.get_running_loop().call_later(seconds, callback, *args)

    def end(self, reason: str) -> None:
        """Start closing, from a timer."""
        self.server.start_background_task(self.close, reason=reason)

    async def close(
        self, wait: bool = True, abort: bool = False, reason: str | None = None
    ) -> None:
        """Tell the application, and end the transport: what waits has FLUSH_S to get out.

        Stock leaves the TCP connection, the queue and a pending poll as they are. A CLOSE packet is
        never sent: over WebSocket Node sends none, and Python clients stay away after one.
        """
        if self.closing or self.closed:
            return
        self._stop_timers()
        await super().close(wait=False, abort=True, reason=reason)
        self.server.sockets.pop(self.sid, None)
        self.queue.put_nowait(None)
        if self.upgraded and self.tcp:
            self.deadline = asyncio.get_running_loop().call_later(FLUSH_S, self.tcp.abort)
        elif not self.upgraded and not self.polling:
            self._discard()

    def _stop_timers(self) -> None:
        for timer in (self.deadline, self.heartbeat):
            if timer:
                timer.cancel()

    def _discard(self) -> None:
        """Nobody empties the outbox any more: release those who wait for that."""
        while not self.queue.empty():
            self.queue.get_nowait()
            self.queue.task_done()

    async def send(self, pkt: Packet) -> None:
        """Append to the outbox, without what stock does for every packet (clock, log line)."""
        if not self.closed:
            self.queue.put_nowait(pkt)

    async def receive(self, pkt: Packet) -> None:
        """Handle a packet; unlike stock, an error comes out here instead of as a traceback."""
        if pkt.packet_type == eio_packet.MESSAGE:
            await self.server.handlers["message"](self.sid, pkt.data)
        else:
            await super().receive(pkt)

    async def _accept(self, decode: Callable[[Any], list[Packet]], data: Any) -> None:
        """Handle what a client sent; anything unreadable ends the session, as in Node."""
        try:
            for pkt in decode(data):
                await self._next_turn()
                if self.closing:
                    break
                await self.receive(pkt)
        except Exception as exc:
            logger.info("session closed after a bad packet: %s", origin(exc))
            await self.close(reason="parse error")

    async def _next_turn(self) -> None:
        """Wait until this client may be heard; others come first, however much it has sent.

        Stock reads on for as long as there is something, which stalls the process, and answers
        without end a client that does not read. On return the session may have been closed.
        """
        if self.queue.qsize() > UNREAD_PACKETS:
            await self.queue.join()
        now = asyncio.get_running_loop().time()
        self.turn = max(self.turn, now - PACKETS_AT_ONCE / PACKETS_PER_S) + 1 / PACKETS_PER_S
        await asyncio.sleep(max(0.0, self.turn - now))

    async def handle_post_request(self, environ: Environ) -> None:
        """Handle the packets of a body; stock drops them all when there are more than 16."""
        await self._accept(_packets_of_body, environ["wsgi.input"])

    async def handle_get_request(self, environ: Environ) -> Any:
        """Answer a poll, or upgrade; a poll during an upgrade waits, in stock it spins."""
        if self.upgrading and "HTTP_UPGRADE" not in environ:
            with suppress(TimeoutError):
                async with asyncio.timeout(NOOP_AFTER_S):
                    await self.settled.wait()
        return await super().handle_get_request(environ)

    async def poll(self) -> list[Packet]:
        """Take all that waits, or wait for something: at the latest a ping, or the end."""
        if self.polling:  # two polls would split the stream; Node ends the session as well
            raise EngineIOError("overlapping polls")
        if self.closed:
            raise QueueEmpty
        self.polling = True
        try:
            taken = [await self.queue.get()]
        finally:
            self.polling = False
        while not self.queue.empty():
            taken.append(self.queue.get_nowait())
        for _ in taken:
            self.queue.task_done()
        # Where only the end came: the client's next poll is refused, and so it reconnects.
        return [pkt for pkt in taken if pkt is not None] or [Packet(eio_packet.NOOP)]

    async def _upgrade_websocket(self, environ: Environ) -> Any:
        """Serve a WebSocket: a session that starts with it, or one that moves over from polling."""
        if self.upgrading or self.upgraded:
            return self.server._bad_request()
        # Deflate is off as in Node: it takes 100 kB for every socket.
        limit = self.server.max_http_buffer_size
        ws = web.WebSocketResponse(compress=False, timeout=FLUSH_S, max_msg_size=limit)
        request: web.Request = environ["aiohttp.request"]
        await ws.prepare(request)
        if not self.connected:
            self.connected = self.upgraded = True
        elif not await self._probe(ws):
            await ws.close(code=self.server.close_code)
            return ws
        self.tcp = request.transport
        writer = asyncio.create_task(self._write(ws))
        try:
            with suppress(ConnectionError):  # cut while we answered a ping of WebSocket's own
                async for message in ws:
                    await self._accept(_packets_of_frame, message.data)
        finally:
            await self.close(reason=self.server.reason.TRANSPORT_CLOSE)
            await writer  # FLUSH_S at most, then its connection is cut
            self._stop_timers()
        return ws

    async def _probe(self, ws: web.WebSocketResponse) -> bool:
        """Do the handshake of an upgrade; when it fails, polling goes on as if nothing had been.

        Stock holds polls off from the start and for ever when the connection is cut, or silent.
        """
        with suppress(TimeoutError, TypeError, ConnectionError):  # silent, not a text, cut
            async with self.server.limit(self.server.upgrade_timeout):
                if await ws.receive_str() != "2probe" or self.upgrading or self.upgraded:
                    return False
                self.settled = asyncio.Event()
                self.upgrading = True
                try:
                    await ws.send_str("3probe")
                    if self.queue.empty():  # a poll may be waiting, and the client waits for it
                        self.queue.put_nowait(Packet(eio_packet.NOOP))
                    self.upgraded = await ws.receive_str() == "5" and not self.closed
                finally:
                    self.upgrading = False
                    self.settled.set()
                return self.upgraded
        return False

    async def _write(self, ws: web.WebSocketResponse) -> None:
        """Write the outbox to a WebSocket; a packet counts as done when TCP has taken it."""
        try:
            while True:
                pkt = await self.queue.get()
                try:
                    if pkt is None:
                        break
                    send = ws.send_bytes if pkt.binary else ws.send_str
                    await send(pkt.encode())
                finally:
                    self.queue.task_done()
            await ws.close(code=self.server.close_code)
        except ConnectionError:
            await self.close(reason=self.server.reason.TRANSPORT_ERROR)
        finally:
            self._discard()


class _Body(Payload):  # type: ignore[misc]  # the library has no types
    max_decode_packets = PACKETS_PER_POST


def _packets_of_body(body: bytes) -> list[Packet]:
    packets: list[Packet] = _Body(encoded_payload=body.decode()).packets
    return packets


def _packets_of_frame(frame: str | bytes) -> list[Packet]:
    return [Packet(encoded_packet=frame)]
