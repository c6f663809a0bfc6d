"""HTTP routes: whole answers, health checks, and the client library for browsers."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager

from aiohttp import hdrs, web

from ..protocol import requests
from ..protocol.errors import AppError, Busy, ErrorPayload, InvalidRequest, ShuttingDown, origin
from ..protocol.record import Record
from ..protocol.transcript import Transcript
from ..runtime.metrics import Metrics
from ..settings import Settings
from . import static_page
from .access import Access
from .auth import Visitor
from .question_service import QuestionService

MAX_BODY_BYTES = 100 * 1024  # Express: "100kb"
BODY_TIMEOUT_S = 30.0  # for a body to come in: even a slow line needs a second for MAX_BODY_BYTES
QUEUE_FACTOR = 2  # a POST waits for so many times what an answer may take, with the queue
SOCKET_PATH = "/socket.io/"

logger = logging.getLogger(__name__)

RouteHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HttpRoutes:
    """The routes of one server process."""

    def __init__(
        self,
        service: QuestionService,
        access: Access,
        settings: Settings,
        *,
        metrics: Metrics,
    ) -> None:
        self._service = service
        self._access = access
        self._settings = settings
        self._metrics = metrics
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

    async def _ask(self, request: web.Request) -> web.StreamResponse:
        try:
            if self._draining:
                raise ShuttingDown
            visitor = await self._access.authenticate(request)
            ask = requests.parse_ask(
                await _json_body(request),
                max_topic_chars=self._settings.max_topic_chars,
                max_question_chars=self._settings.max_question_chars,
                id_prefix=self._settings.question_id_prefix,
            )
            record = await self._access.ask(visitor, ask)
            return await self._answer(request, visitor, record)
        except AppError as exc:
            self._metrics.refused("post", exc)
            return _error_response(exc)

    async def _answer(
        self, request: web.Request, visitor: Visitor, record: Record
    ) -> web.StreamResponse:
        """The response with the whole answer, once that has ended."""
        transcript = Transcript()
        async with self._answer_timeout(), aclosing(self._service.follow(record)) as entries:
            async for entry in entries:
                transcript.add(entry)
        return answer_response(transcript)

    @asynccontextmanager
    async def _answer_timeout(self) -> AsyncIterator[None]:
        """Bound the wait for an answer, which goes on when it is over; raises Busy then."""
        try:
            async with asyncio.timeout(QUEUE_FACTOR * self._settings.answer_timeout_s):
                yield
        except TimeoutError:
            raise Busy from None

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _readyz(self, request: web.Request) -> web.Response:
        try:
            if self._draining:
                raise ShuttingDown
            await self._service.check()
        except AppError as exc:
            return web.json_response({"status": "unavailable", "error": exc.payload}, status=503)
        return web.json_response({"status": "ready"})


def answer_response(transcript: Transcript) -> web.Response:
    """The response with an answer that has ended, or with the error that it failed with."""
    if transcript.ending and (error := transcript.ending.error):
        return _json_error(error["message"], error, status=500)
    return web.json_response({"output": transcript.text})


def _error_response(exc: AppError) -> web.Response:
    """The response to a request that is refused."""
    headers: dict[str, str] = {}
    if exc.http_status == 401:
        headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
    if exc.retry_after_s is not None:
        headers[hdrs.RETRY_AFTER] = str(exc.retry_after_s)
    output = "" if exc.http_status == 400 else str(exc)  # as the original answers invalid input
    return _json_error(output, exc.payload, status=exc.http_status, headers=headers)


def _json_error(
    output: str, error: ErrorPayload, *, status: int, headers: Mapping[str, str] | None = None
) -> web.Response:
    """An error for programs, and as one line for pages that show `output` alone."""
    return web.json_response({"output": output, "error": error}, status=status, headers=headers)


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
async def express_errors(request: web.Request, handler: RouteHandler) -> web.StreamResponse:
    """Answer errors as JSON, and a wrong method like a wrong path, as Express does."""
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed:
        return _http_error(404, "not_found", "There is nothing here.")
    except web.HTTPRequestEntityTooLarge:
        return _http_error(413, "invalid_request", f"The body is over {MAX_BODY_BYTES} bytes.")
    except web.HTTPException as exc:
        if exc.status < 400:
            raise
        return _http_error(
            exc.status, "not_found" if exc.status == 404 else "invalid_request", exc.reason
        )
    except Exception as exc:
        logger.error("request failed: %s", origin(exc))
        return web.json_response({"error": AppError().payload}, status=500)


def _http_error(status: int, code: str, message: str) -> web.Response:
    error = {"code": code, "message": message, "retryable": False}
    return web.json_response({"error": error}, status=status)
