"""Sends chunks to sockets with backpressure: no faster than each socket takes its packets."""

from collections.abc import Callable

import socketio

from ..protocol.entries import Chunk
from . import engineio_fixes

HIGH_WATER_PACKETS = 64  # beyond so many in the outbox of a socket, its sender waits


class SocketOutbox:
    """The outgoing packets of all sockets of a server."""

    def __init__(self, sio: socketio.AsyncServer) -> None:
        self._sio = sio

    async def send(
        self, sid: str, chunk: Chunk, acknowledged: Callable[..., None] | None = None
    ) -> None:
        """Send a chunk, and wait while the socket is past the high-water mark.

        The client is asked to acknowledge the chunk where `acknowledged` is given, which is
        called then. For a socket that has gone nothing is sent.
        """
        await self._sio.emit("chunk", chunk, to=sid, callback=acknowledged)
        if engineio_fixes.outbox_size(self._sio, sid) > HIGH_WATER_PACKETS:
            await self.drained(sid)

    async def drained(self, sid: str) -> None:
        """Wait until all has been written to a socket, or it has gone."""
        await engineio_fixes.outbox_drained(self._sio, sid)

    def is_written(self, sid: str) -> bool:
        """Whether a socket is there and all that was sent to it has left its outbox."""
        return engineio_fixes.is_written(self._sio, sid)
