"""The Engine.IO server: reads requests whole, keeps its tasks, and can be stopped."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import engineio
from aiohttp import WSCloseCode, web
from engineio.async_drivers.aiohttp import translate_request

from ...protocol.errors import origin
from ...runtime.background_tasks import cancel

Environ = dict[str, Any]

FLUSH_S = 0.5  # what a closed session may take to leave; a shutdown has to end within 1 s

logger = logging.getLogger(__name__)


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
        await cancel(self._tasks)

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
