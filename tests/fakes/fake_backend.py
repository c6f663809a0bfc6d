"""A backend that speaks the contract and does what a test tells it, when it tells it.

It lets a test force every state a page can be in: it says nothing by itself.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import socketio
from aiohttp import web

Payload = dict[str, Any]
Entry = tuple[str, Payload]


@dataclass
class _Answer:
    """What was said to one question so far, and the sockets that follow it."""

    asked: Payload
    status: str = "running"
    attempt: int = 0
    entries: list[Entry] = field(default_factory=list)
    number: int = 0
    followers: set[str] = field(default_factory=set)


class FakeBackend:
    """Answers entry by entry, as `start`, `say` and `end` are called.

    They are about the question that was asked last, unless `of` names another one.

    A `plain` backend is like the Node original: strings without meta, acknowledgements
    that say nothing, and no way to resume or stop.
    """

    def __init__(self, *, plain: bool = False) -> None:
        self.url = ""
        self.plain = plain
        self.refusal: Payload | None = None  # what askQuestion and resumeQuestion are refused with
        self.stores = True  # whether a resume finds anything
        self.tells = False  # whether a resume says what was asked
        self.queues = False  # whether questions wait in the queue
        self.loses: set[str] = set()  # events that are heard and never acknowledged
        self.posted: Payload = {"output": "The whole answer."}
        self.post_status = 200
        self.may_post = asyncio.Event()  # until it is set, a POST waits for its answer
        self.may_post.set()
        self.question_id = ""
        self._answers: dict[str, _Answer] = {}
        self._heard: defaultdict[str, asyncio.Queue[Payload]] = defaultdict(asyncio.Queue)
        self._port = 0
        self._runner: web.AppRunner | None = None

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["FakeBackend"]:
        """Listen on a free port, which `url` then tells."""
        await self.listen()
        try:
            yield self
        finally:
            await self.leave()

    async def listen(self) -> None:
        """Accept connections; after `leave`, on the same port, with the answers it had."""
        self._sio = socketio.AsyncServer(async_mode="aiohttp", cors_allowed_origins="*")
        for event, handler in {
            "askQuestion": self._ask,
            "resumeQuestion": self._resume,
            "stopQuestion": self._stop,
        }.items():
            self._sio.on(event, self._acknowledged(event, handler))
        app = web.Application()
        self._sio.attach(app)
        app.router.add_post("/askQuestionWithoutStream", self._post)
        app.router.add_options("/askQuestionWithoutStream", self._preflight)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True).start()
        self._port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self._port}"

    async def leave(self) -> None:
        """Go, as a server does that is restarted."""
        self.drop()
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    async def heard(self, event: str) -> Payload:
        """Wait for the next event of this name, or `POST`, and return what came with it."""
        async with asyncio.timeout(10):
            return await self._heard[event].get()

    def has_heard(self, event: str) -> bool:
        """Whether an event of this name has come that nobody has waited for."""
        return not self._heard[event].empty()

    async def start(
        self, attempt: int = 1, *, of: str | None = None, at_ms: int | None = None
    ) -> None:
        """Begin an attempt; `at_ms` is Redis's time."""
        answer = self._answer(of)
        answer.attempt, answer.number = attempt, 0
        await self._append(answer, f"START:{answer.asked['questionId']};<br/>", at_ms)

    async def say(self, *pieces: str, of: str | None = None, at_ms: int | None = None) -> None:
        """Go on with the answer."""
        for piece in pieces:
            await self._append(self._answer(of), piece, at_ms)

    async def think(self, *thoughts: str, of: str | None = None, at_ms: int | None = None) -> None:
        """Go on with what the model thinks, which is no part of the answer."""
        for thought in thoughts:
            await self._append(self._answer(of), "", at_ms, reasoning=thought)

    async def end(self, status: str = "done", *, of: str | None = None, **meta: Any) -> None:
        """End the answer; `error`, `finishReason`, `usage` and `model` go into the END."""
        answer = self._answer(of)
        question_id = answer.asked["questionId"]
        if error := meta.get("error"):
            line = {"questionId": question_id, "attempt": answer.attempt, "notice": True}
            await self._emit((error["message"], line), answer.followers)
        answer.status = status
        await self._append(answer, f"<br/>;END:{question_id}", status=status, **meta)

    async def answer(self, *pieces: str, of: str | None = None) -> None:
        """A whole answer at once."""
        await self.start(of=of)
        await self.say(*pieces, of=of)
        await self.end(of=of)

    async def skip(self, piece: str) -> None:
        """Write a piece that gets lost on its way to everybody."""
        answer = self._answer(None)
        followers, answer.followers = answer.followers, set()
        await self._append(answer, piece)
        answer.followers = followers

    def drop(self) -> None:
        """Cut every connection, without a word, as a broken network does."""
        for answer in self._answers.values():
            answer.followers.clear()
        server = self._runner.server if self._runner else None
        for connection in server.connections if server else ():
            if connection.transport:
                connection.transport.abort()

    def _answer(self, question_id: str | None) -> _Answer:
        return self._answers[question_id or self.question_id]

    async def _append(
        self, answer: _Answer, text: str, at_ms: int | None = None, **meta: Any
    ) -> None:
        entry = (
            text,
            {
                "questionId": answer.asked["questionId"],
                "id": f"{at_ms or answer.attempt}-{answer.number}",
                "attempt": answer.attempt,
                "number": answer.number,
                **meta,
            },
        )
        answer.number += 1
        answer.entries.append(entry)
        await self._emit(entry, answer.followers)

    async def _emit(self, entry: Entry, sids: set[str]) -> None:
        for sid in list(sids):
            await self._sio.emit("chunk", entry[0] if self.plain else entry, to=sid)

    def _acknowledged(self, event: str, handler: Any) -> Any:
        async def handle(sid: str, payload: Payload) -> Payload | None:
            acknowledgement: Payload | None = await handler(sid, payload)
            self._heard[event].put_nowait(payload)
            if event in self.loses:
                await asyncio.Event().wait()
            return None if self.plain else acknowledgement

        return handle

    async def _ask(self, sid: str, payload: Payload) -> Payload:
        if self.refusal:
            return {"ok": False, "error": self.refusal}
        if self.plain:
            payload = {**payload, "questionId": str(len(self._answers) + 1)}
        self.question_id = payload["questionId"]
        answer = self._answers.setdefault(
            self.question_id, _Answer(payload, "queued" if self.queues else "running")
        )
        answer.followers.add(sid)
        return _accepted(answer)

    async def _resume(self, sid: str, payload: Payload) -> Payload | None:
        if self.plain:
            return None
        if self.refusal:
            return {"ok": False, "error": self.refusal}
        answer = self._answers.get(payload["questionId"])
        if not self.stores or answer is None:
            error = {"code": "expired", "message": "Gone.", "retryable": False}
            return {"ok": False, "error": error}
        ids = [meta["id"] for _, meta in answer.entries]
        behind = ids.index(payload["after"]) + 1 if payload.get("after") in ids else 0
        for entry in answer.entries[behind:]:
            await self._emit(entry, {sid})
        answer.followers.add(sid)
        asked = {name: answer.asked[name] for name in ("topic", "topicQuestion")}
        return _accepted(answer) | (asked if self.tells else {})

    async def _stop(self, sid: str, payload: Payload) -> Payload | None:
        if self.plain:
            return None
        await self.end("stopped", of=payload["questionId"])
        return _accepted(self._answer(payload["questionId"]))

    async def _post(self, request: web.Request) -> web.Response:
        self._heard["POST"].put_nowait(await request.json())
        await self.may_post.wait()
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


def _accepted(answer: _Answer) -> Payload:
    question_id = answer.asked["questionId"]
    return {"ok": True, "questionId": question_id, "status": answer.status}
