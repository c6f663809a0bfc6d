"""A Socket.IO server that says to everybody what the test says, and acknowledges as it is told."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import socketio
from aiohttp import web

Payload = dict[str, Any]
OK: Payload = {"ok": True, "status": "running"}
PATIENCE_S = 10.0


class ScriptedServer:
    """One answer, entry by entry; whoever resumes gets those behind `after` first.

    Of the transports it may offer some alone.
    """

    def __init__(self, *transports: str) -> None:
        self.url = ""
        # What each event is acknowledged with; None says nothing, as the Node original does.
        self.replies: dict[str, Payload | None] = dict.fromkeys(
            ("askQuestion", "resumeQuestion", "stopQuestion"), OK
        )
        self.closed: Payload | None = None  # the error that connections are refused with
        self.question_id = ""
        self._attempt = 0
        self._number = 0
        self._entries: list[tuple[str, Payload]] = []
        self._heard: defaultdict[str, asyncio.Queue[Payload]] = defaultdict(asyncio.Queue)
        self._sio = socketio.AsyncServer(async_mode="aiohttp", transports=list(transports) or None)
        self._sio.on("connect", self._connected)
        for event in self.replies:
            self._sio.on(event, self._hear(event))
        app = web.Application()
        self._sio.attach(app)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["ScriptedServer"]:
        """Listen on a free port, which `url` then tells."""
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        try:
            yield self
        finally:
            self.drop()
            await self._runner.cleanup()

    def refuse(self, event: str, code: str, *, retryable: bool) -> None:
        """Refuse this event from now on."""
        error = {"code": code, "message": "No.", "retryable": retryable}
        self.replies[event] = {"ok": False, "error": error}

    async def heard(self, event: str) -> Payload:
        """Wait for the next event of this name, `connect` where it is refused."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._heard[event].get()

    def has_heard(self, event: str) -> bool:
        """Whether an event of this name has come that nobody has waited for."""
        return not self._heard[event].empty()

    async def start(self, attempt: int = 1) -> None:
        """Begin an attempt."""
        self._attempt, self._number = attempt, 0
        await self._append("START")

    async def say(self, *pieces: str) -> None:
        """Go on with the answer."""
        for piece in pieces:
            await self._append(piece)

    async def think(self, *thoughts: str) -> None:
        """Go on with what the model thinks, which is no part of the answer."""
        for thought in thoughts:
            await self._append("", reasoning=thought)

    async def lose(self, piece: str) -> None:
        """Go on with a piece that gets lost on its way."""
        await self._append(piece, lost=True)

    async def end(self, status: str = "done", **more: Any) -> None:
        """End the answer; the END's meta carries `more` as well."""
        await self._append("END", status=status, **more)

    async def emit(self, text: str, meta: Payload | None = None) -> None:
        """Send a chunk that stands in no stream."""
        await self._sio.emit("chunk", text if meta is None else (text, meta))

    def drop(self) -> None:
        """Cut every connection, without a word, as a broken network does."""
        for connection in self._runner.server.connections if self._runner.server else ():
            if connection.transport:
                connection.transport.abort()

    async def _append(self, text: str, *, lost: bool = False, **more: Any) -> None:
        meta = {
            "questionId": self.question_id,
            "id": f"{self._attempt}-{self._number}",
            "attempt": self._attempt,
            "number": self._number,
            **more,
        }
        self._number += 1
        self._entries.append((text, meta))
        if not lost:
            await self._sio.emit("chunk", (text, meta))

    async def _connected(self, sid: str, environ: Any, auth: Any = None) -> None:
        if self.closed:
            self._heard["connect"].put_nowait({})
            raise socketio.exceptions.ConnectionRefusedError(self.closed["message"], self.closed)

    def _hear(self, event: str) -> Any:
        async def hear(sid: str, payload: Payload) -> Payload | None:
            self.question_id = payload["questionId"]
            ids = [meta["id"] for _, meta in self._entries]
            behind = ids.index(payload["after"]) + 1 if payload.get("after") in ids else 0
            reply = self.replies[event]
            if event == "resumeQuestion" and reply == OK:
                for entry in self._entries[behind:]:
                    await self._sio.emit("chunk", entry, to=sid)
            self._heard[event].put_nowait(payload)
            return reply

        return hear
