"""Corrects where python-engineio and python-socketio behave otherwise than Node's server.

Made for python-engineio >=4.13.2,<4.16 and python-socketio >=5.16,<5.19. Most of it overrides
methods that are not public, so a new minor version is let in only once tests/server/engineio_fixes
passes: it holds a test for every defect named here. A fix can go once its test passes without it.
"""

import logging
from collections.abc import Mapping
from typing import Any

import socketio
from aiohttp import web

from .server import CheckedPacket, ClientManager, SocketServer
from .session import NOOP_AFTER_S, PACKETS_PER_POST, Session

__all__ = [
    "NOOP_AFTER_S",
    "PACKETS_PER_POST",
    "attach",
    "create_socket_server",
    "is_written",
    "outbox_drained",
    "outbox_size",
    "peer_address",
]


def create_socket_server(
    *,
    cors_origins: str | list[str] = "*",
    max_message_bytes: int = 1_000_000,
    ping_interval: float = 25.0,
    ping_timeout: float = 20.0,
    connect_timeout: float = 45.0,
    upgrade_timeout: float = 5.0,
) -> socketio.AsyncServer:
    """Create a server for the namespace "/" that behaves as Node's does; times are in seconds.

    Handlers of `connect` take (sid, environ, auth=None); one that raises refuses the connection.
    """
    # The library writes payloads into its log below ERROR; nobody's words belong there.
    driver_logger = logging.getLogger(f"{__name__}.driver")
    driver_logger.setLevel(logging.ERROR)
    return SocketServer(
        async_mode="aiohttp",
        client_manager=ClientManager(),
        serializer=CheckedPacket,
        logger=driver_logger,
        engineio_logger=driver_logger,
        namespaces=["/"],
        connect_timeout=connect_timeout,
        upgrade_timeout=upgrade_timeout,
        cors_allowed_origins=cors_origins,
        cors_credentials=False,  # as in Node: no cookie is ever needed
        max_http_buffer_size=max_message_bytes,
        ping_interval=ping_interval,
        ping_timeout=ping_timeout,
        http_compression=False,  # a poll carries a few pieces: not worth a deflate of each
        monitor_clients=False,  # every session keeps its own time, see Session.schedule_ping
    )


def attach(sio: socketio.AsyncServer, app: web.Application) -> None:
    """Serve Socket.IO at /socket.io/, and end its sessions when the application shuts down.

    `on_shutdown` callbacks run in order: what has to be sent before has to be registered before.
    """

    async def stop(_: web.Application) -> None:
        await sio.eio.stop()

    for path in ("/socket.io/", "/socket.io"):  # clients may leave out the slash since 4.6
        for method in ("GET", "POST", "OPTIONS"):
            app.router.add_route(method, path, sio.handle_request)
    app.on_shutdown.append(stop)


def peer_address(environ: Mapping[str, Any]) -> str:
    """Return the address at the other end of the connection: behind a proxy, the proxy's."""
    return str(environ.get("REMOTE_ADDR") or "unknown")


def outbox_size(sio: socketio.AsyncServer, sid: str) -> int:
    """Return how many packets wait to be written to a socket, 0 if it has gone."""
    session = _session(sio, sid)
    return session.queue.qsize() if session else 0


async def outbox_drained(sio: socketio.AsyncServer, sid: str) -> None:
    """Wait until all has been written to a socket (or taken by its polls), or it has gone."""
    if session := _session(sio, sid):
        await session.queue.join()


def is_written(sio: socketio.AsyncServer, sid: str) -> bool:
    """Return whether a socket is there and all that was sent to it has left its outbox."""
    session = _session(sio, sid)
    return session is not None and not session.closing and session.queue.empty()


def _session(sio: socketio.AsyncServer, sid: str) -> "Session | None":
    session: Session | None = sio.eio.sockets.get(sio.manager.eio_sid_from_sid(sid, "/"))
    return session
