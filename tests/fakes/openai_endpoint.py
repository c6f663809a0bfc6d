"""A fake of OpenAI's chat completions over HTTP: predictable answers, chosen faults.

A question may carry directives, `[[tokens=200 interval_ms=5 fault=cut_after:10]]`;
openai_script.py lists the faults.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import signal
import sys
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from tests.fakes.openai_journal import Journal, Request
from tests.fakes.openai_script import (
    COUNTED_FAULTS,
    Script,
    answer_pieces,
    expected_answer,
    foreign_pieces,
    piece_count,
    tag_of,
    thought_pieces,
)
from tests.fakes.openai_wire import (
    LEAK_MARKER,
    Events,
    completion,
    error,
    last_events,
    question_in,
    refusal,
)
from tests.fakes.pacer import Pacer

__all__ = [
    "LEAK_MARKER",
    "OpenAIEndpoint",
    "Request",
    "Script",
    "answer_pieces",
    "expected_answer",
    "foreign_pieces",
    "piece_count",
    "tag_of",
    "thought_pieces",
]


# Without pauses the comments would fill the connection.
_SHORTEST_KEEP_ALIVE_S = 0.01


class OpenAIEndpoint(Journal):
    """An endpoint that listens on 127.0.0.1 while its context is open.

    `script` may be replaced at any time; a question's own directives win over it.
    After an exit it can be entered again, on the same port.
    """

    def __init__(self, script: Script | None = None, *, port: int = 0) -> None:
        super().__init__()
        self.script = script or Script()
        self.port = port
        self._connections: set[asyncio.Transport] = set()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """What OPENAI_BASE_URL has to be."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_post("/v1/chat/completions", self._completions)
        app.router.add_get("/stats", self._stats)
        app.router.add_get("/sent", self._sent)
        # The cancelled handler is how a closed connection shows while nothing is sent.
        self._runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=1.0
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop listening and cut what is still running; may be called twice."""
        runner, self._runner = self._runner, None
        for connection in self._connections:
            connection.abort()
        if runner is not None:
            await runner.cleanup()

    def answer_to(self, question: str) -> str:
        """What this endpoint answers this question in full, directives considered."""
        return expected_answer(question, self.script.directed_by(question).tokens)

    async def _stats(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                "requests": len(self.requests),
                "open_streams": self.open_streams,
                "peak_open_streams": self.peak_open_streams,
            }
        )

    async def _sent(self, http: web.Request) -> web.Response:
        """When each piece of the newest answer to a question was sent."""
        asked = self.requests_for(http.query["question"])
        return web.json_response(asked[-1].sent_at if asked else [])

    async def _completions(self, http: web.Request) -> web.StreamResponse:
        body = await http.json()
        try:
            request = self._received(http, body)
        except ValueError as exc:
            return error(400, "invalid_request_error", None, str(exc))
        assert http.transport is not None
        connection: asyncio.Transport = http.transport
        self._connections.add(connection)
        try:
            response = await self._answer(http, request)
            request.completed = response.status == 200 and request.sent >= request.script.tokens
            return response
        finally:
            self._connections.discard(connection)
            self._closed(request)

    def _received(self, http: web.Request, body: dict[str, Any]) -> Request:
        question = question_in(body)
        number = len(self.requests_for(question)) + 1
        script = self.script.directed_by(question).for_request(number)
        assert http.transport is not None
        peer = http.transport.get_extra_info("peername")
        request = Request(question, body, dict(http.headers), script, peer)
        self._opened(request)
        return request

    async def _answer(self, http: web.Request, request: Request) -> web.StreamResponse:
        script = request.script
        if (refused := refusal(script.fault)) is not None:
            return refused
        if script.fault == "stall_before_first":
            await _forever()
        if script.first_delay_s:
            await asyncio.sleep(script.first_delay_s)
        if request.body.get("stream"):
            return await self._stream(http, request)
        return await self._whole(http, request)

    async def _stream(self, http: web.Request, request: Request) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream; charset=utf-8",
                "Cache-Control": "no-cache",
            }
        )
        response.enable_chunked_encoding()
        await response.prepare(http)
        fault, _, count = request.script.fault.partition(":")
        if fault == "keepalive_comments_only":
            await self._keep_alive(http, request, response)
        wire = Events(request.body)
        # aiohttp holds the headers back until the first write of a body.
        await response.write(wire.role)
        await self._think(http, request, wire)
        pieces = answer_pieces(request.question, request.script.tokens)
        if fault in COUNTED_FAULTS:
            del pieces[int(count) :]
        encoders = {"empty_deltas": wire.between_empty_deltas, "refusal": wire.refused_piece}
        encode, hold = encoders.get(fault, wire.piece), request.script.hold
        if hold is not None:
            await self._send(http, request, map(encode, pieces[:hold]))
            await request.let_go.wait()
            del pieces[:hold]
        await self._send(http, request, map(encode, pieces))
        if fault == "stall_after":
            await _forever()
        if fault == "cut_after":
            await _cut(http)
        await response.write(last_events(wire, fault, count, request.sent))
        await response.write_eof()
        return response

    async def _keep_alive(
        self, http: web.Request, request: Request, response: web.StreamResponse
    ) -> None:
        """Send comments until the client's disconnect cancels the handler."""
        comment = b": keep-alive\n\n"
        await response.write(comment)
        assert http.transport is not None
        interval_s = max(request.script.interval_s, _SHORTEST_KEEP_ALIVE_S)
        await Pacer(http.transport, itertools.repeat(comment), interval_s).run()

    async def _think(self, http: web.Request, request: Request, wire: Events) -> None:
        """Send thought, one event at each tick."""

        def thought() -> None:
            request.thought += 1
            self._changed()

        assert http.transport is not None
        events = map(wire.thought, thought_pieces(request.question, request.script.think))
        await Pacer(http.transport, events, request.script.interval_s, thought).run()

    async def _send(self, http: web.Request, request: Request, events: Iterable[bytes]) -> None:
        """Send one event at each tick; returns when the events have come to their end."""

        def sent() -> None:
            request.sent += 1
            request.sent_at.append(time.perf_counter())
            self._changed()

        assert http.transport is not None
        await Pacer(http.transport, events, request.script.interval_s, sent).run()

    async def _whole(self, http: web.Request, request: Request) -> web.StreamResponse:
        script = request.script
        await asyncio.sleep(script.tokens * script.interval_s)
        pieces = answer_pieces(request.question, script.tokens)
        fault, _, count = script.fault.partition(":")
        match fault:
            case "stall_after" | "keepalive_comments_only":
                await _forever()
            case "cut_after":
                await _cut(http)
            case "error_event_after":
                return error(500, "server_error", None, "The model broke off.")
            case "garbage_json_after":
                return web.Response(body=b'{"id": "chatcmpl-', content_type="application/json")
            case "clean_eof_after":
                del pieces[int(count) :]
        request.sent = len(pieces)
        finish = {"finish": count, "clean_eof_after": None}.get(fault, "stop")
        return web.json_response(completion(request.body, pieces, finish))


async def _forever() -> None:
    """Wait until the client's disconnect cancels the handler."""
    await asyncio.get_running_loop().create_future()


async def _cut(http: web.Request) -> None:
    assert http.transport is not None
    http.transport.abort()
    await _forever()


async def _serve(script: Script, port: int) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with OpenAIEndpoint(script, port=port) as endpoint:
        sys.stdout.write(f"{endpoint.url}\n")
        sys.stdout.flush()
        await stopped.wait()


def main() -> None:
    """Run the endpoint as a program; its first line of output is its URL."""
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.openai_endpoint")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tokens", type=int, default=50)
    parser.add_argument("--interval-ms", type=float, default=50)
    parser.add_argument("--first-delay-ms", type=float, default=0)
    parser.add_argument("--fault", default="")
    args = parser.parse_args()
    script = Script(
        tokens=args.tokens,
        interval_s=args.interval_ms / 1000,
        first_delay_s=args.first_delay_ms / 1000,
        fault=args.fault,
    )
    asyncio.run(_serve(script, args.port))


if __name__ == "__main__":
    main()
