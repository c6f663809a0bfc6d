"""Socket.IO: parse, call, acknowledge."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import socketio
from socketio.exceptions import ConnectionRefusedError

from ..protocol import requests
from ..protocol.entries import Chunk, refusal
from ..protocol.errors import AppError, IdTaken, ShuttingDown, Unauthorized, origin
from ..protocol.record import Record
from ..runtime.metrics import Metrics
from ..settings import Settings
from . import engineio_fixes
from .access import Reception
from .auth import Visitor
from .delivery import Delivery
from .question_service import Answers
from .socket_acks import Receipts, Received
from .subscriptions import Readers

OUTBOX_PACKETS = 64  # a reader waits until a socket has taken its packets, beyond so many

logger = logging.getLogger(__name__)

Ack = dict[str, Any]
Handler = Callable[[str, Any], Awaitable[Ack]]


class Sockets:
    """Serves the events of the contract to the sockets of one server process."""

    def __init__(
        self,
        sio: socketio.AsyncServer,
        answers: Answers,
        reception: Reception,
        delivery: Delivery,
        settings: Settings,
        metrics: Metrics | None = None,
    ) -> None:
        self._sio = sio
        self._delivery = delivery
        self._reception = reception
        self._settings = settings
        self._readers = Readers(answers, delivery, self._emit, settings.max_followed_per_socket)
        self._visitors: dict[str, Visitor] = {}  # by socket
        self._receipts: dict[str, Receipts] = {}
        self._refusing = False
        self._metrics = metrics or Metrics()
        self._metrics.sockets.set_function(lambda: len(self._visitors))
        self._metrics.readers.set_function(lambda: self._readers.running)
        sio.on("connect", self._connected)
        sio.on("disconnect", self._disconnected)
        sio.on("askQuestion", self._acknowledged(self._ask, "ask"))
        sio.on("resumeQuestion", self._acknowledged(self._resume, "resume"))
        sio.on("stopQuestion", self._acknowledged(self._stop, "stop"))

    def refuse_questions(self) -> None:
        """Answer every new question with `busy` from now on; what runs can still be read."""
        self._refusing = True

    async def close(self) -> None:
        """End every reader; on return no task of ours is left."""
        self._refusing = True
        await self._readers.close()

    async def _connected(self, sid: str, environ: Any, auth: Any = None) -> None:
        try:
            self._visitors[sid] = await self._reception.welcome(environ["aiohttp.request"], auth)
        except AppError as exc:
            self._metrics.refused("connect", exc)
            raise ConnectionRefusedError(str(exc), exc.payload) from exc
        self._receipts[sid] = Receipts(lambda: engineio_fixes.is_written(self._sio, sid))
        self._readers.open(sid)

    async def _disconnected(self, sid: str, reason: Any = None) -> None:
        # The worker goes on: whoever comes back finds the whole answer.
        if visitor := self._visitors.pop(sid, None):
            self._reception.leave(visitor)
        if receipts := self._receipts.pop(sid, None):
            receipts.close()
        await self._readers.drop(sid)

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
            new_id=self._delivery.new_question_id,
        )
        visitor = self._visitor(sid)
        with self._readers.place(sid, ask.question_id):
            record = await self._reception.ask(visitor, ask)
            await self._readers.start(sid, visitor.user_id, record)
        return _state(record)

    async def _resume(self, sid: str, payload: Any) -> Ack:
        resume = requests.parse_resume(payload)
        visitor = self._visitor(sid)
        with self._readers.place(sid, resume.question_id):
            record = await self._reception.find(visitor, resume.question_id)
            await self._readers.start(sid, visitor.user_id, record, resume.after)
        self._metrics.resumed(record.status)
        # Who opens somebody's link has never seen what was asked.
        return {**_state(record), "topic": record.topic, "topicQuestion": record.question}

    async def _stop(self, sid: str, payload: Any) -> Ack:
        question_id = requests.parse_stop(payload)
        return _state(await self._reception.stop(self._visitor(sid), question_id))

    async def _refuse(self, sid: str, payload: Any, error: AppError) -> None:
        """Give a page that passes no callback what it waits for: START, one line, END."""
        question_id = requests.refused_id(None if isinstance(error, IdTaken) else payload)
        for chunk in refusal(question_id, error.payload):
            await self._emit(sid, chunk)

    def _visitor(self, sid: str) -> Visitor:
        try:
            return self._visitors[sid]
        except KeyError:
            raise Unauthorized("This connection has ended.") from None

    async def _emit(self, sid: str, chunk: Chunk, received: Received | None = None) -> None:
        """Send a chunk, and wait while the socket is behind.

        `received` is called once the client has the chunk, perhaps long after.
        """
        receipts, is_end = self._receipts.get(sid), "status" in chunk[1]
        to_call = receipts.note(received, at_once=is_end) if receipts and received else None
        await self._sio.emit("chunk", chunk, to=sid, callback=to_call)
        behind = engineio_fixes.outbox_size(self._sio, sid)
        if behind > OUTBOX_PACKETS or (behind and received and is_end):
            await engineio_fixes.outbox_drained(self._sio, sid)
        if receipts and received:
            receipts.look()


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
