"""HTTP that is broken on purpose is refused, and leaves nothing in the log."""

import asyncio
import contextlib
import gzip

import pytest

from tests.faults.stack import Stack
from tests.hostile.shapes import ASK, CHUNKED, LAST, ODD, UNREADABLE
from tests.hostile.wire import exchange, wired

pytestmark = pytest.mark.asyncio(loop_scope="session")

SECRETS = (b"root:", b'"dependencies"', b"Traceback")


async def test_what_cannot_be_read(stack: Stack) -> None:
    """Nothing that is no request is answered as one, and no request hides behind it."""
    for name, data in UNREADABLE.items():
        async with wired(stack.servers[0].port) as wire:
            await wire.send(data)
            with contextlib.suppress(OSError):
                wire.writer.write_eof()
            assert b" 200 " not in await wire.rest(), name
    assert stack.servers[0].log == ""


async def test_what_is_odd(stack: Stack) -> None:
    """What can be read is answered, not with a fault, and with no header of the client's making."""
    for name, data in ODD.items():
        answer = await exchange(stack.servers[0].port, data)
        assert answer.startswith(b"HTTP/1."), name
        assert b" 500 " not in answer, name
        assert b"\nSet-Cookie" not in answer, name
        assert not any(secret in answer for secret in SECRETS), name
    assert stack.servers[0].log == ""


async def test_bodies_that_break_off(stack: Stack) -> None:
    """A body of which a part is missing is no question, announced or in chunks."""
    asked = len(stack.model.requests)
    body = b'{"topic": "Redis", "topicQuestion": "Am I whole?"}'
    for data in (ASK + b"Content-Length: 51\r\n\r\n" + body, CHUNKED + b"32\r\n" + body + b"\r\n"):
        async with wired(stack.servers[0].port) as wire:
            await wire.send(data)
    assert b" 400 " in await exchange(stack.servers[0].port, ASK + LAST)
    assert len(stack.model.requests) == asked


async def test_a_body_that_swells(stack: Stack) -> None:
    """A body of a hundred kilobytes that would be a hundred megabytes is not unpacked."""
    bomb = gzip.compress(b" " * 100_000_000)
    head = b"Content-Encoding: gzip\r\nContent-Length: %d\r\n" % len(bomb)
    for path in (b"/askQuestionWithoutStream", b"/socket.io/?EIO=4&transport=polling"):
        request = b"POST " + path + b" HTTP/1.1\r\nHost: x\r\n" + head + LAST + bomb
        assert b" 4" in (await exchange(stack.servers[0].port, request))[:16]


async def test_others_behind_a_slow_one(stack: Stack) -> None:
    """Hundreds of requests that come in byte by byte keep nobody waiting."""
    async with contextlib.AsyncExitStack() as connections:
        slow = [
            await connections.enter_async_context(wired(stack.servers[0].port)) for _ in range(300)
        ]
        person = await stack.person()
        answers = [await person.ask(f"Is anybody slow {number}?") for number in range(3)]
        for byte in ASK.decode():
            await asyncio.gather(*(wire.send(byte.encode()) for wire in slow))
        await stack.whole(*answers)
