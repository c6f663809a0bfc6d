"""The floor: the same contract with nothing in between, to know what a token costs at least.

Bare SDK to raw WebSocket: no Redis, no LangChain, no Socket.IO library; an answer is lost
with its connection. It speaks as much of the protocol as the load's clients do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator

import aiohttp
import openai
import uvloop
from aiohttp import web

_OPEN = '0{"sid":"floor","upgrades":[],"pingInterval":25000,"pingTimeout":20000}'


class Floor:
    """Answers each `askQuestion` on its socket."""

    def __init__(self) -> None:
        self._http = openai.DefaultAioHttpClient()
        self._sdk = openai.AsyncOpenAI(http_client=self._http)

    async def ready(self, _: web.Request) -> web.Response:
        """Always."""
        return web.Response()

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """One socket, to its end."""
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        await socket.send_str(_OPEN)
        async with asyncio.TaskGroup() as answers:
            async for frame in socket:
                assert frame.type is aiohttp.WSMsgType.TEXT
                if frame.data == "40":
                    await socket.send_str('40{"sid":"floor"}')
                elif frame.data.startswith("42"):
                    _, asked = json.loads(frame.data[2:])
                    answers.create_task(self._answer(socket, asked["topicQuestion"]))
        return socket

    async def _answer(self, socket: web.WebSocketResponse, question: str) -> None:
        question_id = str(uuid.uuid4())
        await _emit(socket, f"START:{question_id};<br/>")
        stream = await self._sdk.chat.completions.create(
            model="gpt-4", messages=[{"role": "user", "content": question}], stream=True
        )
        async for event in stream:
            if event.choices and (text := event.choices[0].delta.content):
                await _emit(socket, text)
        await _emit(socket, f"<br/>;END:{question_id}")

    async def close(self, _: web.Application) -> AsyncIterator[None]:
        """Let go of the model's connections in the end."""
        yield
        await self._http.aclose()


async def _emit(socket: web.WebSocketResponse, text: str) -> None:
    await socket.send_str(f"42{json.dumps(['chunk', text])}")


def main() -> None:
    """Listen until told to end."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.speed.floor")
    parser.add_argument("--port", type=int, default=int(os.environ.get("PORT", "0")))
    floor, app = Floor(), web.Application()
    app.router.add_get("/socket.io/", floor.serve)
    app.router.add_get("/readyz", floor.ready)
    app.cleanup_ctx.append(floor.close)
    uvloop.install()
    web.run_app(app, host="127.0.0.1", port=parser.parse_args().port, access_log=None)


if __name__ == "__main__":
    main()
