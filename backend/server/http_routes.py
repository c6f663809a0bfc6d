"""The HTTP side: an answer in one piece, health, the browser client, CORS as in Express."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing

from aiohttp import hdrs, web

from ..protocol import requests
from ..protocol.errors import (
    AppError,
    Busy,
    ErrorPayload,
    InvalidRequest,
    RateLimited,
    ShuttingDown,
    Unauthorized,
    origin,
)
from ..protocol.transcript import Transcript
from ..runtime.metrics import Metrics
from ..settings import Settings
from . import static_page
from .access import Reception
from .delivery import Delivery, Receipt
from .question_service import Answers

MAX_BODY_BYTES = 100 * 1024  # Express: "100kb"
BODY_TIMEOUT_S = 30.0  # for a body to come in: even a slow line needs a second for MAX_BODY_BYTES
QUEUE_PATIENCE = 2  # times what an answer may take: how long a POST waits, with the queue
SOCKET_PATH = "/socket.io/"

logger = logging.getLogger(__name__)

RouteHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HttpApi:
    """The routes of one server process."""

    def __init__(
        self,
        answers: Answers,
        reception: Reception,
        delivery: Delivery,
        settings: Settings,
        metrics: Metrics | None = None,
    ) -> None:
        self._answers = answers
        self._reception = reception
        self._metrics = metrics or Metrics()
        self._delivery = delivery
        self._settings = settings
        self._draining = False

    def routes(self) -> list[web.RouteDef]:
        """The routes, to be added to an application."""
        return [
            web.post("/askQuestionWithoutStream", self._ask),
            web.get("/healthz", self._healthz),
            web.get("/readyz", self._readyz),
            web.get(SOCKET_PATH + "{name:socket\\.io[a-z.]*\\.(?:js|map)}", _browser_client),
        ]

    def refuse_questions(self) -> None:
        """Take no question any more, and say so on /readyz."""
        self._draining = True

    async def _ask(self, request: web.Request) -> web.Response:
        try:
            if self._draining:
                raise ShuttingDown
            transcript, receipts = await self._answer(request)
        except AppError as exc:
            self._metrics.refused("post", exc)
            if isinstance(exc, InvalidRequest):
                return web.json_response({"output": "", "error": exc.payload}, status=400)
            return _failure(exc)
        response = _outcome(transcript)
        await response.prepare(request)
        await response.write_eof()
        for receipt in receipts:
            if receipt.received:
                receipt.received()
        return response

    async def _answer(self, request: web.Request) -> tuple[Transcript, list[Receipt]]:
        visitor = await self._reception.identify(request)
        ask = requests.parse_ask(
            await _json_body(request),
            max_topic_chars=self._settings.max_topic_chars,
            max_question_chars=self._settings.max_question_chars,
            new_id=self._delivery.new_question_id,
        )
        record = await self._reception.ask(visitor, ask)
        transcript, receipts = Transcript(), list[Receipt]()
        try:
            async with (
                asyncio.timeout(QUEUE_PATIENCE * self._settings.answer_timeout_s),
                self._delivery.handout(record, visitor.user_id, None) as handout,
                aclosing(self._answers.follow(record)) as entries,
            ):
                async for entry in entries:
                    receipts.append(await handout.deliver(entry))
                    transcript.add(entry)
        except TimeoutError:
            raise Busy from None  # it is still answered, once a worker comes to it
        return transcript, receipts

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _readyz(self, request: web.Request) -> web.Response:
        try:
            if self._draining:
                raise ShuttingDown
            await self._answers.check()
        except AppError as exc:
            return web.json_response({"status": "unavailable", "error": exc.payload}, status=503)
        return web.json_response({"status": "ready"})


def _outcome(transcript: Transcript) -> web.Response:
    if transcript.ending and transcript.ending.error:
        return _failed(transcript.ending.error)
    return web.json_response({"output": transcript.text})


def _failure(exc: AppError) -> web.Response:
    """The original answers 500; the others are for what it does not ask: who, and how often."""
    headers: dict[str, str] = {}
    if isinstance(exc, Unauthorized) and not exc.retryable:
        headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
    if exc.retry_after_s is not None:
        headers[hdrs.RETRY_AFTER] = str(exc.retry_after_s)
    return _failed(exc.payload, {Unauthorized: 401, RateLimited: 429}.get(type(exc), 500), headers)


def _failed(
    error: ErrorPayload, status: int = 500, headers: Mapping[str, str] | None = None
) -> web.Response:
    """An error as programs read it, and as one line for pages that show `output` alone."""
    body = {"output": error["message"], "error": error}
    return web.json_response(body, status=status, headers=headers)


async def _json_body(request: web.Request) -> object:
    """The body as JSON; raises InvalidRequest, and HTTPRequestEntityTooLarge past the bound."""
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            body = await request.read()
        return json.loads(body)
    except (ValueError, RecursionError):  # not UTF-8, not JSON, or nested too deeply
        raise InvalidRequest("The body has to be JSON.") from None
    except (TimeoutError, ConnectionError, web.RequestPayloadError):  # slow, cut off, not gzip
        raise InvalidRequest("The body did not come in whole.") from None


async def _browser_client(request: web.Request) -> web.StreamResponse:
    """The Socket.IO client for browsers: npm's copy where installed, else the CDN's."""
    name = request.match_info["name"]
    if name not in static_page.CLIENT_FILES:
        raise web.HTTPNotFound
    if file := static_page.socket_io_client_file(name):
        return web.FileResponse(file)
    raise web.HTTPFound(static_page.socket_io_client_url(name))


@web.middleware
async def express_manners(request: web.Request, handler: RouteHandler) -> web.StreamResponse:
    """Answer errors as JSON, and a wrong method like a wrong path, as Express does."""
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed:
        return _error(404, "not_found", "There is nothing here.")
    except web.HTTPRequestEntityTooLarge:
        return _error(413, "invalid_request", f"The body is over {MAX_BODY_BYTES} bytes.")
    except web.HTTPException as exc:
        if exc.status < 400:
            raise
        return _error(
            exc.status, "not_found" if exc.status == 404 else "invalid_request", exc.reason
        )
    except Exception as exc:
        logger.error("request failed: %s", origin(exc))
        return web.json_response({"error": AppError().payload}, status=500)


def _error(status: int, code: str, message: str) -> web.Response:
    error = {"code": code, "message": message, "retryable": False}
    return web.json_response({"error": error}, status=status)
