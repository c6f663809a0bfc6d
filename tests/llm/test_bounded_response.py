"""A provider's response is bounded in size, and leaves others their time, whatever is in it."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress

import httpx2
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from backend.errors import ModelError
from backend.llm import bounded_response
from backend.llm.langchain_model import openai_chain
from backend.settings import Settings

PATIENCE_S = 10.0
PIECES_READY = 1_000
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
ERROR = b"HTTP/1.1 400 Bad\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
EMPTY = b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":' + (
    b'[{"index":0,"delta":{"content":""},"finish_reason":null}]}\n\n'
)


class _AlwaysReady(httpx2.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(PIECES_READY):
            yield b"\n"

    async def aclose(self) -> None:
        """Hold nothing open."""


async def test_others_have_their_turn() -> None:
    """Whoever reads bytes that are all there already lets others run between two of them."""
    response = httpx2.Response(200, stream=_AlwaysReady())
    await bounded_response.bound(response)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(count())
    async for _ in response.aiter_bytes():
        pass
    other.cancel()
    assert turns >= PIECES_READY


@asynccontextmanager
async def endless(head: bytes, body: bytes) -> AsyncIterator[str]:
    """A provider that sends this, over and over; its address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head)
            while True:
                writer.write(body)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1")
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"http://{host}:{port}/v1"


@pytest.mark.parametrize(
    ("head", "body"),
    [(STREAM, b"x" * 1_000), (STREAM, b"\n" * 1_000), (STREAM, EMPTY), (ERROR, b"x" * 1_000)],
    ids=["a line", "empty lines", "empty pieces", "an error"],
)
async def test_what_never_ends(head: bytes, body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A response beyond the bound fails the question, before anything has gathered."""
    monkeypatch.setattr(bounded_response, "RESPONSE_BYTES", 500_000)
    async with endless(head, body) as url, asyncio.timeout(PATIENCE_S):
        settings = Settings(openai_api_key="sk-test", openai_base_url=url, model_retries=0)
        chain = openai_chain(settings)
        try:
            async with aclosing(chain.stream("Redis", "Does it end?")) as pieces:
                with pytest.raises(ModelError):
                    await anext(pieces)
        finally:
            await chain.aclose()


@pytest.mark.parametrize("status", [200, 400, 500])
async def test_what_is_compressed_is_not_read(status: int) -> None:
    """Nobody is asked to compress, and what is compressed all the same fails the question."""
    asked: list[str] = []

    async def bomb(request: web.Request) -> web.Response:
        asked.append(request.headers["Accept-Encoding"])
        headers = {"Content-Encoding": "gzip", "Content-Type": "text/event-stream"}
        return web.Response(status=status, body=gzip.compress(bytes(1_000_000)), headers=headers)

    app = web.Application()
    app.router.add_post("/v1/chat/completions", bomb)
    async with TestServer(app) as server, asyncio.timeout(PATIENCE_S):
        url = str(server.make_url("/v1"))
        chain = openai_chain(
            Settings(openai_api_key="sk-test", openai_base_url=url, model_retries=0)
        )
        try:
            async with aclosing(chain.stream("Redis", "How large is it?")) as pieces:
                with pytest.raises(ModelError) as failed:
                    await anext(pieces)
        finally:
            await chain.aclose()
    assert asked == ["identity"]
    assert isinstance(failed.value.__cause__, bounded_response.CompressedResponse)
