"""The Engine.IO half: sessions, their two transports, and the server that keeps them."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import engineio
from aiohttp import WSCloseCode, web
from engineio import packet as eio_packet
from engineio.async_drivers.aiohttp import translate_request
from engineio.async_socket import AsyncSocket
from engineio.exceptions import EngineIOError, QueueEmpty
from engineio.packet import Packet
from engineio.payload import Payload

from ..errors import origin

Environ = dict[str, Any]

PACKETS_PER_POST = 10_000  # Node has no bound but the body's size; these take about 50 ms
NOOP_AFTER_S = 0.1  # polls during an upgrade are held so long, as in Node: 10 requests/s, not 400
FLUSH_S = 0.5  # what a closed session may take to leave; a shutdown has to end within 1 s

logger = logging.getLogger(__name__)


class Session(AsyncSocket):  # type: ignore[misc]  # the library has no types
    """An Engine.IO session. None at the end of its outbox ends whoever empties that."""

    server: "Engine"
    connected: bool
    upgrading: bool
    upgraded: bool
    queue: asyncio.Queue[Packet | None]
    polling = False  # a poll waits for packets
    settled: asyncio.Event  # the upgrade under way has succeeded or failed
    deadline: asyncio.TimerHandle | None = None  # of its CONNECT packet; after closing, of its TCP
    heartbeat: asyncio.TimerHandle | None = None
    tcp: asyncio.WriteTransport | None = None

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
                if self.closing:
                    break
                await self.receive(pkt)
        except Exception as exc:
            logger.info("session closed after a bad packet: %s", origin(exc))
            await self.close(reason="parse error")

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
            async for message in ws:
                await self._accept(_packets_of_frame, message.data)
        finally:
            await self.close(reason=self.server.reason.TRANSPORT_CLOSE)
            await writer  # FLUSH_S at most, then its connection is cut
            self._stop_timers()
            self._discard()
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


class Engine(engineio.AsyncServer):  # type: ignore[misc]  # the library has no types
    """The Engine.IO server: reads requests whole, keeps its tasks, and can be stopped."""

    _async: dict[str, Any]
    upgrade_timeout: float
    close_code: int

    def __init__(self, *, upgrade_timeout: float, **options: Any) -> None:
        super().__init__(**options)
        self._async = {**self._async, "translate_request": self._read_request}
        self.upgrade_timeout = upgrade_timeout
        self.close_code = WSCloseCode.OK
        self._limits: set[asyncio.Timeout] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def stop(self) -> None:
        """End every session so that its client reconnects; on return no task of ours is left.

        Clients see "transport close" or "transport error". The disconnect packet that
        `sio.disconnect` sends would tell them to stay away, and stock closes no WebSocket at all.
        """
        self.close_code = WSCloseCode.GOING_AWAY
        for session in list(self.sockets.values()):
            session.end("server shutting down")
        for limit in list(self._limits):
            if not limit.expired():
                limit.reschedule(0)  # half-read bodies, half-made upgrades
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=FLUSH_S)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @asynccontextmanager
    async def limit(self, seconds: float) -> AsyncIterator[None]:
        """Raise TimeoutError after so many seconds, or when the server stops."""
        async with asyncio.timeout(seconds) as limit:
            self._limits.add(limit)
            try:
                yield
            finally:
                self._limits.discard(limit)

    def start_background_task(
        self, target: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> asyncio.Task[Any]:
        """Start a task and keep it; its failure is one log line, in stock it is never retrieved."""
        task: asyncio.Task[Any] = asyncio.create_task(target(*args, **kwargs))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()):
            logger.error("background task failed: %s", origin(exc))

    async def _read_request(self, request: web.Request) -> Environ:
        """Make the environ of a request; stock reads of its body what has arrived so far."""
        if self.close_code == WSCloseCode.GOING_AWAY:
            raise web.HTTPServiceUnavailable
        environ: Environ = translate_request(request)
        environ["REMOTE_ADDR"] = request.remote  # stock: 127.0.0.1, whoever it is
        if request.method == "POST":
            environ["wsgi.input"] = await self._read_body(request)
        return environ

    async def _read_body(self, request: web.Request) -> bytes:
        body = bytearray()
        size = request.content_length or 0
        try:
            # A client can answer no ping while its POST is under way: then it has gone anyway.
            async with self.limit(self.ping_interval + self.ping_timeout):
                while size <= self.max_http_buffer_size:
                    piece = await request.content.readany()
                    if not piece:
                        return bytes(body)
                    body += piece
                    size = len(body)
        except (TimeoutError, ConnectionError, web.RequestPayloadError):
            # Whatever is answered, the rest shall not be waited for; uncaught it logs a traceback.
            if request.transport:
                request.transport.close()
            raise web.HTTPBadRequest from None
        raise web.HTTPRequestEntityTooLarge(self.max_http_buffer_size, size)

    def _log_error_once(self, message: str, message_key: str) -> None:
        """Stock logs errors of clients as errors of ours, with the words of the request."""
        logger.debug("request refused: %s", message_key)


class _Body(Payload):  # type: ignore[misc]  # the library has no types
    max_decode_packets = PACKETS_PER_POST


def _packets_of_body(body: bytes) -> list[Packet]:
    packets: list[Packet] = _Body(encoded_payload=body.decode()).packets
    return packets


def _packets_of_frame(frame: str | bytes) -> list[Packet]:
    return [Packet(encoded_packet=frame)]
