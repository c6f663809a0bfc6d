"""The Socket.IO server: what a client may send, and what becomes of failing handlers."""

import json
import logging
from typing import Any

import socketio
from engineio import packet as eio_packet
from socketio import packet as sio_packet

from ...protocol.errors import origin
from .engine import Engine, Environ
from .session import Session

ATTACHMENTS = 10  # binary parts of one packet; Node's parser allows as many

# Names of the library's own events, by Node's list: no client may send them.
RESERVED = {
    "connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener",
}  # fmt: skip

logger = logging.getLogger(__name__)

_encode = json.JSONEncoder(separators=(",", ":")).encode


class SocketServer(socketio.AsyncServer):  # type: ignore[misc]  # the library has no types
    """The Socket.IO server: what a client may send, and what becomes of failing handlers."""

    def __init__(self, *, connect_timeout: float, **options: Any) -> None:
        super().__init__(**options)
        self._connect_timeout = connect_timeout

    def _engineio_server_class(self) -> type[Engine]:
        return Engine

    async def _handle_eio_connect(self, eio_sid: str, environ: Environ) -> None:
        """Begin a session; in stock one that never connects to a namespace lives for ever."""
        await super()._handle_eio_connect(eio_sid, environ)
        session = self.eio.sockets[eio_sid]
        # No constructor can be reached: the driver calls its own amid a method of 50 lines.
        session.__class__ = Session
        session.start(self._connect_timeout, self._check_connected)

    def _check_connected(self, session: Session) -> None:
        if self.manager.sid_from_eio_sid(session.sid, "/") is None:
            session.end("connect timeout")

    async def _handle_eio_message(self, eio_sid: str, data: Any) -> None:
        """Handle a message; stock takes texts for attachments, and chokes on what is neither."""
        expected = bytes if eio_sid in self._binary_packet else str
        if not isinstance(data, expected) or data == "":
            raise ValueError("neither a packet nor an attachment that was announced")
        await super()._handle_eio_message(eio_sid, data)

    async def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        """End a session; stock keeps its half-received packet where the handshake had failed."""
        await super()._handle_eio_disconnect(eio_sid, reason)
        self._binary_packet.pop(eio_sid, None)

    async def _handle_connect(self, eio_sid: str, namespace: str | None, data: Any) -> None:
        """Connect a client to "/"; other namespaces are refused in the words of Node."""
        if namespace not in (None, "/"):
            error = {"message": "Invalid namespace"}
            kind = sio_packet.CONNECT_ERROR
            refusal = self.packet_class(kind, data=error, namespace=namespace)
            await self._send_packet(eio_sid, refusal)
            return
        if self.manager.sid_from_eio_sid(eio_sid, "/"):
            raise ValueError("connected already")
        await super()._handle_connect(eio_sid, "/", data)
        if eio_sid not in self.environ:  # it ended during the handler; stock keeps a zombie
            await self._handle_disconnect(eio_sid, "/", self.reason.TRANSPORT_CLOSE)

    async def _trigger_event(self, event: str, namespace: str, *args: Any) -> Any:
        """Run a handler; where `connect` or `disconnect` raises, stock leaves a zombie."""
        if event not in self.reserved_events:
            return await super()._trigger_event(event, namespace, *args)
        try:
            return await super()._trigger_event(event, namespace, *args)
        except (ConnectionRefusedError, socketio.exceptions.ConnectionRefusedError):
            raise
        except Exception as exc:
            logger.error("%s handler failed: %s", event, origin(exc))
            return False  # which refuses the connection


class ClientManager(socketio.AsyncManager):  # type: ignore[misc]  # the library has no types
    """The client list, with a fast path for events to one socket."""

    async def emit(
        self, event: str, data: Any, namespace: str, room: Any = None, skip_sid: Any = None,
        callback: Any = None, to: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        """Append to one socket's outbox at once; stock starts a task for it (some 40 us).

        It does not yield to the event loop: a loop of emits waits for `outbox_drained` in between.
        """
        room = to or room
        eio_sid = self.eio_sid_from_sid(room, "/") if isinstance(room, str) else None
        if eio_sid is None or namespace != "/" or skip_sid or callback:
            await super().emit(event, data, namespace, room, skip_sid, callback, **kwargs)
            return
        args = data if isinstance(data, tuple) else () if data is None else (data,)
        try:
            # Spelt here: the library's packet looks through all of its data for bytes first.
            text = f"{sio_packet.EVENT}{_encode([event, *args])}"
        except TypeError:  # there are bytes in it, which are sent as packets of their own
            await super().emit(event, data, namespace, room, **kwargs)
            return
        if session := self.server.eio.sockets.get(eio_sid):
            await session.send(eio_packet.Packet(eio_packet.MESSAGE, text))


class CheckedPacket(sio_packet.Packet):  # type: ignore[misc]  # the library has no types
    """A Socket.IO packet that checks what it decodes, by the rules of Node's parser."""

    def decode(self, encoded_packet: str) -> int:
        """Return the number of attachments to come; raise ValueError where Node would."""
        attachments: int = super().decode(encoded_packet)
        kind, data = self.packet_type, self.data
        if kind in (sio_packet.EVENT, sio_packet.BINARY_EVENT):
            name = data[0] if isinstance(data, list) and data else None
            # Numbers are allowed, though nobody listens to them.
            valid = name not in RESERVED if isinstance(name, str) else type(name) in (int, float)
        elif kind in (sio_packet.ACK, sio_packet.BINARY_ACK):
            valid = isinstance(data, list)
        elif kind == sio_packet.CONNECT:
            valid = data is None or isinstance(data, dict)
        else:
            valid = kind == sio_packet.DISCONNECT
        if not valid or attachments > ATTACHMENTS:
            raise ValueError("invalid packet")
        if attachments == 0 and kind in (sio_packet.BINARY_EVENT, sio_packet.BINARY_ACK):
            self.packet_type -= sio_packet.BINARY_EVENT - sio_packet.EVENT  # nothing to wait for
        return attachments
