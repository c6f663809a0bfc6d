"""Socket.IO: parse, call, acknowledge."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import socketio
from socketio.exceptions import ConnectionRefusedError

from ..protocol import requests
from ..protocol.entries import refusal
from ..protocol.errors import AppError, IdTaken, ShuttingDown, Unauthorized, origin
from ..protocol.record import Record
from ..runtime.metrics import Metrics
from ..settings import Settings
from .access import Access
from .auth import Visitor
from .socket_outbox import SocketOutbox
from .subscriptions import Subscriptions

logger = logging.getLogger(__name__)

Ack = dict[str, Any]
Handler = Callable[[str, Any], Awaitable[Ack]]


class SocketEvents:
    """Serves the events of the contract to the sockets of one server process."""

    def __init__(
        self,
        sio: socketio.AsyncServer,
        access: Access,
        subscriptions: Subscriptions,
        outbox: SocketOutbox,
        settings: Settings,
        *,
        metrics: Metrics,
    ) -> None:
        self._access = access
        self._subscriptions = subscriptions
        self._outbox = outbox
        self._settings = settings
        self._visitors: dict[str, Visitor] = {}  # by socket
        self._refusing = False
        self._metrics = metrics
        metrics.sockets.set_function(lambda: len(self._visitors))
        metrics.readers.set_function(lambda: subscriptions.running)
        sio.on("connect", self._connected)
        sio.on("disconnect", self._disconnected)
        sio.on("askQuestion", self._acknowledged(self._ask, "ask"))
        sio.on("resumeQuestion", self._acknowledged(self._resume, "resume"))
        sio.on("stopQuestion", self._acknowledged(self._stop, "stop"))

    def refuse_questions(self) -> None:
        """Answer every new question with `busy` from now on; what runs can still be read."""
        self._refusing = True

    async def close(self) -> None:
        """End every subscription; on return no task of ours is left."""
        self._refusing = True
        await self._subscriptions.close()

    async def _connected(self, sid: str, environ: Any, auth: Any = None) -> None:
        try:
            self._visitors[sid] = await self._access.connect(environ["aiohttp.request"], auth)
        except AppError as exc:
            self._metrics.refused("connect", exc)
            raise ConnectionRefusedError(str(exc), exc.payload) from exc
        self._subscriptions.open(sid)

    async def _disconnected(self, sid: str, reason: Any = None) -> None:
        # The worker goes on: whoever comes back finds the whole answer.
        if visitor := self._visitors.pop(sid, None):
            self._access.disconnect(visitor)
        await self._subscriptions.drop(sid)

    def _acknowledged(self, handler: Handler, request: str) -> Callable[..., Awaitable[Ack]]:
        """Make an event handler of it that answers in every case; `request` is its metric's."""

        async def handle(sid: str, payload: Any = None, *rest: Any) -> Ack:
            try:
                return {"ok": True, **await handler(sid, payload)}
            except Exception as exc:
                error = _for_clients(exc)
            self._metrics.refused(request, error)
            if handler == self._ask:
                await self._refuse(sid, payload, error)
            return {"ok": False, "error": error.payload}

        return handle

    async def _ask(self, sid: str, payload: Any) -> Ack:
        if self._refusing:
            raise ShuttingDown
        ask = requests.parse_ask(
            payload,
            max_topic_chars=self._settings.max_topic_chars,
            max_question_chars=self._settings.max_question_chars,
            id_prefix=self._settings.question_id_prefix,
        )
        visitor = self._visitor(sid)
        with self._subscriptions.reserve(sid, ask.question_id):
            record = await self._access.ask(visitor, ask)
            await self._subscriptions.start(sid, visitor.user_id, record)
        return _state(record)

    async def _resume(self, sid: str, payload: Any) -> Ack:
        resume = requests.parse_resume(payload)
        visitor = self._visitor(sid)
        with self._subscriptions.reserve(sid, resume.question_id):
            record = await self._access.find(visitor, resume.question_id)
            await self._subscriptions.start(sid, visitor.user_id, record, resume.after)
        self._metrics.resumed(record.status)
        # Who opens somebody's link has never seen what was asked.
        return {**_state(record), "topic": record.topic, "topicQuestion": record.question}

    async def _stop(self, sid: str, payload: Any) -> Ack:
        question_id = requests.parse_stop(payload)
        return _state(await self._access.stop(self._visitor(sid), question_id))

    async def _refuse(self, sid: str, payload: Any, error: AppError) -> None:
        """Give a page that passes no callback what it waits for: START, one line, END."""
        question_id = requests.refused_id(None if isinstance(error, IdTaken) else payload)
        for chunk in refusal(question_id, error.payload):
            await self._outbox.send(sid, chunk)

    def _visitor(self, sid: str) -> Visitor:
        try:
            return self._visitors[sid]
        except KeyError:
            raise Unauthorized("This connection has ended.") from None


def _for_clients(exc: Exception) -> AppError:
    """What a client is told about a failure; one that is ours alone goes to the log."""
    if isinstance(exc, AppError):
        return exc
    logger.error("event handler failed: %s", origin(exc))
    return AppError()


def _state(record: Record) -> Ack:
    state: Ack = {
        "questionId": record.question_id,
        "status": record.status,
        "attempt": record.attempt,
    }
    return state | {"error": record.error} if record.error else state
