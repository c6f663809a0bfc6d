"""A provider's response is bounded in size, and leaves others their time, whatever is in it."""

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx2
import openai
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from backend.llm import bounded_response
from backend.llm.bounded_response import HEADERS, bound
from backend.llm.decompression import CompressedResponse
from backend.llm.openai_client import EventClient
from backend.protocol.errors import ModelError

PATIENCE_S = 10.0
PIECES_READY = 1_000
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
ERROR = b"HTTP/1.1 400 Bad\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
EMPTY = b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":' + (
    b'[{"index":0,"delta":{"content":""},"finish_reason":null}]}\n\n'
)


class _AlwaysReady(httpx2.AsyncByteStream):
    def __init__(self, *blocks: bytes) -> None:
        self._blocks = blocks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for block in self._blocks:
            yield block

    async def aclose(self) -> None:
        """Hold nothing open."""


async def turns_of_others(response: httpx2.Response) -> int:
    """How often somebody else has a turn while the response is read."""
    await bound(response)
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
    return turns


async def test_others_have_their_turn() -> None:
    """Whoever reads bytes that are all there already lets others run between two of them."""
    stream = _AlwaysReady(*[b"\n"] * PIECES_READY)
    assert await turns_of_others(httpx2.Response(200, stream=stream)) >= PIECES_READY


async def test_others_have_their_turn_while_a_bomb_is_undone() -> None:
    """What a few bytes stand for is made in pieces, with turns of others between them."""
    stream = _AlwaysReady(gzip.compress(bytes(10_000_000)))
    headers = {"Content-Encoding": "gzip"}
    assert await turns_of_others(httpx2.Response(200, stream=stream, headers=headers)) >= 100


async def read(url: str) -> list[Any]:
    """The events of an answer of this provider."""
    async with openai.DefaultAioHttpClient(
        headers=HEADERS, event_hooks={"response": [bound]}
    ) as http:
        client = EventClient(api_key="key", base_url=url, http_client=http, max_retries=0)
        stream = await client.chat.completions.create(model="m", messages=[], stream=True)
        return [event async for event in stream]


# What never ends


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


def compressed(head: bytes) -> bytes:
    """The same head of a response, with the start of a compressed body."""
    return head[:-2] + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"")[:10]


def bomb(data: bytes) -> bytes:
    """Some bytes of the middle of a compressed body, which may be repeated."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush(zlib.Z_FULL_FLUSH)


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (STREAM, b"x" * 1_000),
        (STREAM, b"\n" * 1_000),
        (STREAM, EMPTY),
        (ERROR, b"x" * 1_000),
        (compressed(STREAM), bomb(b"\n" * 1_000_000)),
        (compressed(ERROR), bomb(b"x" * 1_000_000)),
        (compressed(STREAM), bomb(b"") * 100),
        (compressed(ERROR), bomb(b"") * 100),
    ],
    ids=[
        "a line", "empty lines", "empty pieces", "an error", "a bomb", "an error as a bomb",
        "nothing, compressed", "nothing as an error, compressed",
    ],
)  # fmt: skip
async def test_what_never_ends(head: bytes, body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A response beyond the bound fails the question, before anything has gathered."""
    monkeypatch.setattr(bounded_response, "RESPONSE_BYTES", 500_000)
    async with endless(head, body) as url, asyncio.timeout(PATIENCE_S):
        with pytest.raises(ModelError):
            await read(url)


# What is compressed

EVENTS = b"".join(
    b"data: %b\n\n" % json.dumps({"choices": [{"delta": {"content": text}}]}).encode()
    for text in ("Salt,", " mostly.")
)
BODY = EVENTS + b"data: [DONE]\n\n"
PROBLEM = json.dumps({"error": {"message": "no such model", "code": "model_not_found"}}).encode()


@asynccontextmanager
async def provider(status: int, body: bytes, encoding: str) -> AsyncIterator[str]:
    """A provider that answers with this, whether it was asked to compress or not."""

    async def answer(request: web.Request) -> web.Response:
        assert request.headers["Accept-Encoding"] == "identity"
        headers = {"Content-Encoding": encoding, "Content-Type": "text/event-stream"}
        return web.Response(status=status, body=body, headers=headers)

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    async with TestServer(app) as server, asyncio.timeout(PATIENCE_S):
        yield str(server.make_url("/v1"))


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda body: zlib.compress(body, wbits=-zlib.MAX_WBITS)),
        ("identity", bytes),
        ("identity, gzip", gzip.compress),
    ],
)
async def test_what_is_compressed_is_undone(
    encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    """An answer and an error that were compressed unasked are read all the same."""
    async with provider(200, compress(BODY), encoding) as url:
        [event] = await read(url)
    assert event["choices"][0]["delta"]["content"] == "Salt, mostly."
    async with provider(404, compress(PROBLEM), encoding) as url:
        with pytest.raises(openai.NotFoundError) as failed:
            await read(url)
    assert failed.value.code == "model_not_found"


UNREADABLE = [("br", PROBLEM), ("gzip, br", PROBLEM), ("gzip, gzip", PROBLEM), ("gzip", PROBLEM)]


@pytest.mark.parametrize(("encoding", "body"), UNREADABLE)
async def test_an_error_that_cannot_be_read_has_its_status(encoding: str, body: bytes) -> None:
    """An unknown encoding, or broken data, leaves an error what its status says."""
    for status, kind in [
        (401, openai.AuthenticationError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
    ]:
        async with provider(status, body, encoding) as url:
            with pytest.raises(kind):
                await read(url)


@pytest.mark.parametrize(("encoding", "body"), UNREADABLE)
async def test_an_answer_that_cannot_be_read_fails(encoding: str, body: bytes) -> None:
    """An unknown encoding, or broken data, is no answer."""
    async with provider(200, body, encoding) as url:
        with pytest.raises(CompressedResponse):
            await read(url)


async def test_a_compressed_answer_that_is_cut_has_broken_off() -> None:
    """What has come of a compressed answer is read, and then that its end is missing."""
    compressor = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    body = compressor.compress(EVENTS) + compressor.flush(zlib.Z_SYNC_FLUSH)
    async with provider(200, body, "gzip") as url:
        with pytest.raises(openai.APIConnectionError):
            await read(url)
