"""A backend that speaks the contract and does what a test tells it, when it tells it.

It lets a test force every state a page can be in: it says nothing by itself.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import socketio
from aiohttp import web

Payload = dict[str, Any]
Entry = tuple[str, Payload]


class FakeBackend:
    """Answers one question at a time, entry by entry, as `start`, `say` and `end` are called.

    A `plain` one is like the Node original: strings without meta, acknowledgements
    that say nothing, and no way to resume or stop.
    """

    def __init__(self, *, plain: bool = False) -> None:
        self.url = ""
        self.plain = plain
        self.refusal: Payload | None = None  # what askQuestion and resumeQuestion are refused with
        self.stores = True  # whether a resume finds anything
        self.posted: Payload = {"output": "The whole answer."}
        self.post_status = 200
        self.question_id = ""
        self._attempt = 0
        self._number = 0
        self._entries: list[Entry] = []
        self._followers: set[str] = set()
        self._heard: defaultdict[str, asyncio.Queue[Payload]] = defaultdict(asyncio.Queue)
        self._sio = socketio.AsyncServer(async_mode="aiohttp", cors_allowed_origins="*")
        for event, handler in {
            "askQuestion": self._ask,
            "resumeQuestion": self._resume,
            "stopQuestion": self._stop,
        }.items():
            self._sio.on(event, handler)
        app = web.Application()
        self._sio.attach(app)
        app.router.add_post("/askQuestionWithoutStream", self._post)
        app.router.add_options("/askQuestionWithoutStream", self._preflight)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["FakeBackend"]:
        """Listen on a free port, which `url` then tells."""
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        try:
            yield self
        finally:
            self.drop()
            await self._runner.cleanup()

    async def heard(self, event: str) -> Payload:
        """Wait for the next event of this name, or `POST`, and return what came with it."""
        async with asyncio.timeout(10):
            return await self._heard[event].get()

    def has_heard(self, event: str) -> bool:
        """Whether an event of this name has come that nobody has waited for."""
        return not self._heard[event].empty()

    async def start(self, attempt: int = 1) -> None:
        """Begin an attempt at the question that was asked last."""
        self._attempt, self._number = attempt, 0
        await self._append(f"START:{self.question_id};<br/>")

    async def say(self, *pieces: str) -> None:
        """Go on with the answer."""
        for piece in pieces:
            await self._append(piece)

    async def end(self, status: str = "done", **meta: Any) -> None:
        """End the answer; `error` and `finishReason` go into the END."""
        if error := meta.get("error"):
            line = {"questionId": self.question_id, "attempt": self._attempt, "notice": True}
            await self._emit((error["message"], line), self._followers)
        await self._append(f"<br/>;END:{self.question_id}", status=status, **meta)

    async def answer(self, *pieces: str) -> None:
        """A whole answer at once."""
        await self.start()
        await self.say(*pieces)
        await self.end()

    def drop(self) -> None:
        """Cut every connection, without a word, as a broken network does."""
        self._followers.clear()
        for connection in self._runner.server.connections if self._runner.server else ():
            if connection.transport:
                connection.transport.abort()

    async def _append(self, text: str, **meta: Any) -> None:
        entry_id = f"{self._attempt}-{self._number}"
        entry = (
            text,
            {
                "questionId": self.question_id,
                "id": entry_id,
                "attempt": self._attempt,
                "number": self._number,
                **meta,
            },
        )
        self._number += 1
        self._entries.append(entry)
        await self._emit(entry, self._followers)

    async def _emit(self, entry: Entry, sids: set[str]) -> None:
        for sid in list(sids):
            await self._sio.emit("chunk", entry[0] if self.plain else entry, to=sid)

    async def _ask(self, sid: str, payload: Payload) -> Payload | None:
        self._heard["askQuestion"].put_nowait(payload)
        if self.refusal:
            return {"ok": False, "error": self.refusal}
        if self.plain:
            self.question_id = "1"
        elif payload["questionId"] != self.question_id:
            self.question_id = payload["questionId"]
            self._entries.clear()
        self._followers.add(sid)
        return self._accepted()

    async def _resume(self, sid: str, payload: Payload) -> Payload | None:
        self._heard["resumeQuestion"].put_nowait(payload)
        if self.refusal:
            return {"ok": False, "error": self.refusal}
        if not self.stores or payload["questionId"] != self.question_id:
            error = {"code": "expired", "message": "Gone.", "retryable": False}
            return {"ok": False, "error": error}
        ids = [meta["id"] for _, meta in self._entries]
        behind = ids.index(payload["after"]) + 1 if payload.get("after") in ids else 0
        for entry in self._entries[behind:]:
            await self._emit(entry, {sid})
        self._followers.add(sid)
        return self._accepted()

    async def _stop(self, sid: str, payload: Payload) -> Payload | None:
        await self.end("stopped")
        self._heard["stopQuestion"].put_nowait(payload)
        return self._accepted()

    def _accepted(self) -> Payload | None:
        if self.plain:
            return None
        return {"ok": True, "questionId": self.question_id, "status": "running"}

    async def _post(self, request: web.Request) -> web.Response:
        self._heard["POST"].put_nowait(await request.json())
        headers = {"Access-Control-Allow-Origin": "*"}
        return web.json_response(self.posted, status=self.post_status, headers=headers)

    async def _preflight(self, request: web.Request) -> web.Response:
        return web.Response(
            status=204,
            headers={
                "Access-Control-Allow-Origin": "*",
                "Access-Control-Allow-Methods": "POST",
                "Access-Control-Allow-Headers": "content-type",
            },
        )
