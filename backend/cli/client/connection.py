"""One Socket.IO connection: what comes over it lands in its inbox."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import socketio
from engineio.payload import Payload

from ...protocol.entries import parse_error
from .address import BackendAddress
from .failures import Refused, Unreachable, own_error
from .inbox import ChunkEvent, Inbox, Lost, Reply

CONNECT_TIMEOUT_S = 10.0  # for each of the two ways
CLOSE_TIMEOUT_S = 1.0  # a peer that is gone says no goodbye
PACKETS_PER_POLL = 10_000  # python-engineio gives up at 17; a poll brings all that has gathered


class Connection:
    """A connection that has been opened; see `connected`."""

    def __init__(self, backend: BackendAddress, http: aiohttp.ClientSession) -> None:
        self.inbox = Inbox()
        self._backend = backend
        self._rejection: Any = None
        driver_logger = logging.getLogger(f"{__name__}.driver")
        driver_logger.setLevel(logging.CRITICAL)  # what goes wrong, we say ourselves
        self._sio = socketio.AsyncClient(
            reconnection=False,  # a new connection is a new object: nothing of the old one is left
            handle_sigint=False,
            http_session=http,
            logger=driver_logger,
            engineio_logger=driver_logger,
        )
        self._sio.on("chunk", self._chunk)
        self._sio.on("disconnect", self._disconnected)
        self._sio.on("connect_error", self._rejected)

    async def open(self, transports: list[str]) -> None:
        """Connect; raises Unreachable, or Refused where the server wants no such client."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._sio.connect(
                    self._backend.origin,
                    headers=self._backend.headers,
                    auth=self._backend.auth,
                    transports=transports,
                    namespaces=["/"],
                    socketio_path=self._backend.socket_path,
                    wait_timeout=CONNECT_TIMEOUT_S,
                )
        except Exception as exc:
            # Whatever answers there may be anything: python-engineio fails in a dozen ways.
            if self._sio.failed_namespaces:
                raise Refused(_rejection(self._rejection)) from exc
            raise Unreachable(f"No Socket.IO server answers at {self._backend.url}") from exc

    async def send(self, event: str, payload: dict[str, Any]) -> None:
        """Send an event; its acknowledgement, if one comes, is put into the inbox."""

        def acknowledged(*replies: Any) -> None:
            self.inbox.put(Reply(event, replies[0] if replies else None))

        # Not connected any more: the inbox says so.
        with contextlib.suppress(socketio.exceptions.BadNamespaceError):
            await self._sio.emit(event, payload, callback=acknowledged)

    async def close(self) -> None:
        """Say goodbye, if anybody listens."""
        with contextlib.suppress(Exception):  # half open, or broken: it is closed either way
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._sio.disconnect()

    # The handlers are no coroutines: events are tasks of python-engineio, and keep their
    # order because nothing in them waits.

    def _chunk(self, text: Any = None, meta: Any = None, *rest: Any) -> None:
        if isinstance(text, str) and isinstance(meta, dict):
            self.inbox.put(ChunkEvent(text, meta))

    def _disconnected(self, reason: Any = None) -> None:
        self.inbox.put(Lost())

    def _rejected(self, reason: Any = None, *rest: Any) -> None:
        self._rejection = reason


def take_long_polls() -> None:
    """Let a poll bring many packets, in the whole process: python-engineio knows no smaller way."""
    Payload.max_decode_packets = PACKETS_PER_POLL


@asynccontextmanager
async def connected(backend: BackendAddress) -> AsyncIterator[Connection]:
    """A connection while the block lasts. Raises Unreachable and Refused."""
    async with aiohttp.ClientSession() as http:
        connection = await _open(backend, http)
        try:
            yield connection
        finally:
            await connection.close()


async def _open(backend: BackendAddress, http: aiohttp.ClientSession) -> Connection:
    """Connect over WebSocket alone: behind several servers that needs no sticky sessions.

    Some proxies let nothing but plain HTTP through, so that comes next.
    """
    try:
        return await _open_over(["websocket"], backend, http)
    except Unreachable:
        return await _open_over(["polling", "websocket"], backend, http)


async def _open_over(
    transports: list[str], backend: BackendAddress, http: aiohttp.ClientSession
) -> Connection:
    connection = Connection(backend, http)
    try:
        await connection.open(transports)
    except BaseException:
        await connection.close()
        raise
    return connection


def _rejection(reason: Any) -> Any:
    """The error of a server that refuses the connection itself, whatever it says."""
    said = reason if isinstance(reason, dict) else {"message": reason}
    with contextlib.suppress(KeyError, TypeError):
        if error := parse_error(said.get("data")):
            return error
    message = str(said.get("message") or "The server refuses the connection.")
    return own_error("connection_refused", message, retryable=False)
