"""Connections that are of no use are closed in time, and what they send is in no log."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from backend.server.runner import make_runner
from tests.hostile.wire import exchange, wired

WORDS = "somebodys-words"


async def say_hello(request: web.Request) -> web.Response:
    """Answer."""
    return web.Response(text="hello")


async def fail(request: web.Request) -> web.Response:
    """Fail, in somebody's words."""
    raise RuntimeError(WORDS)


@asynccontextmanager
async def listening(keep_alive_s: float) -> AsyncIterator[int]:
    """A server with such patience; its port."""
    app = web.Application()
    app.router.add_get("/", say_hello)
    app.router.add_get("/broken", fail)
    runner = make_runner(app, keep_alive_s=keep_alive_s)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"], ids=["new", "used"])
async def test_headers_that_never_end(said: bytes) -> None:
    """Headers that come in byte by byte do not keep a connection open, new or used before."""
    async with listening(0.2) as port, wired(port) as wire:
        await wire.send(said)
        if said:
            assert b" 200 " in await wire.head()
        ended = asyncio.create_task(wire.rest())
        await wire.send(b"GET / HTTP/1.1\r\nX: ")
        for _ in range(5_000):  # below what a header may have
            await wire.send(b"x")
            await asyncio.sleep(0)
        assert await ended == (b"hello" if said else b"")


@pytest.mark.parametrize(
    "request_line",
    [
        f"GET / HTTP/1.1\r\nHost: x\r\nX: a\r2026-01-01 ERROR {WORDS}\r\n\r\n",
        f"GET / HTTP/9.9{WORDS}\r\n\r\n",
        f"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{WORDS}\r\n",
        f"POST / HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\n"
        f"Content-Length: 15\r\n\r\n{WORDS}",
    ],
    ids=["header", "version", "chunk", "gzip"],
)
async def test_what_cannot_be_read(request_line: str, caplog: pytest.LogCaptureFixture) -> None:
    """A request that is none is refused and leaves no line: how many there are is up to others."""
    async with listening(5.0) as port:
        assert b" 40" in await exchange(port, request_line.encode())
    assert not [record for record in caplog.records if record.levelno >= logging.INFO]


async def test_a_fault_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    """A fault that nobody caught is one line that says where it arose, without words."""
    async with listening(5.0) as port:
        await exchange(port, b"GET /broken HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.getMessage().startswith("connection failed: RuntimeError at ")
    assert record.exc_info is None
    assert WORDS not in caplog.text
