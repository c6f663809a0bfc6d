"""Polling POSTs: a body is read whole, within bounds, and each packet in it runs."""

import asyncio
from contextlib import suppress

from aiohttp import ClientSession

from backend.server import engineio_fixes
from tests.server.engineio_fixes.raw_clients import PATIENCE_S, Polling, Server


async def raw_post(polling: Polling, headers: str, *pieces: bytes) -> str:
    """POST a body in pieces, each handled by the server before the next; the status line."""
    reader, writer = await asyncio.open_connection("127.0.0.1", polling.server.port)
    writer.write(f"POST {polling.path} HTTP/1.1\r\nHost: test\r\n{headers}\r\n\r\n".encode())
    for piece in pieces:
        writer.write(piece)
        await polling.server.turn()
    async with asyncio.timeout(PATIENCE_S):
        status = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return status.decode()


async def test_a_body_in_two_segments_arrives_whole(polling: Polling) -> None:
    """A POST that arrives in two TCP segments runs its handler once, with all of it."""
    body = b'42["ask","' + b"x" * 1500 + b'"]'
    length = f"Content-Length: {len(body)}"
    assert "200" in await raw_post(polling, length, body[:700], body[700:])
    assert await polling.server.call("ask") == ("x" * 1500,)
    assert polling.server.calls.empty()


async def test_a_large_body_arrives_whole(polling: Polling) -> None:
    """A POST of 300 kB, more than one read returns, runs its handler with all of it."""
    assert await polling.post(f'42["ask","{"x" * 300_000}"]') == 200
    assert await polling.server.call("ask") == ("x" * 300_000,)


async def test_a_chunked_body_arrives_whole(polling: Polling) -> None:
    """A POST that does not announce its length is read until its end."""
    chunked = b'a\r\n42["ask","\r\n', b'3\r\nx"]\r\n', b"0\r\n\r\n"
    assert "200" in await raw_post(polling, "Transfer-Encoding: chunked", *chunked)
    assert await polling.server.call("ask") == ("x",)


async def test_a_body_beyond_the_bound_is_refused(http: ClientSession) -> None:
    """A POST beyond the bound is answered with 413, announced or not; the session goes on."""
    async with Server(max_message_bytes=1000).running() as server:
        polling = await Polling(http, server).connect()
        assert await polling.post("4" * 1001) == 413
        chunk = b"3e9\r\n" + b"4" * 1001 + b"\r\n0\r\n\r\n"
        assert "413" in await raw_post(polling, "Transfer-Encoding: chunked", chunk)
        assert await polling.post('42["ask"]') == 200
        await server.call("ask")


async def test_a_body_that_breaks_off_is_no_packet(polling: Polling) -> None:
    """A POST whose connection is cut half way runs nothing, and leaves no traceback."""
    _, writer = await asyncio.open_connection("127.0.0.1", polling.server.port)
    request = f"POST {polling.path} HTTP/1.1\r\nHost: test\r\nContent-Length: 99\r\n\r\n"
    writer.write(request.encode() + b'42["ask"]')
    await polling.server.turn()
    writer.transport.abort()
    with suppress(ConnectionError):
        await writer.wait_closed()
    await polling.server.call("connect")
    await polling.server.turn()
    assert polling.server.calls.empty()


async def test_hundreds_of_packets_in_one_post_all_run(polling: Polling) -> None:
    """A POST of 300 events, as after a time offline, runs each of them, in order."""
    body = "\x1e".join(f'42["ask",{number}]' for number in range(300))
    assert await polling.post(body) == 200
    assert [await polling.server.call("ask") for _ in range(300)] == [(n,) for n in range(300)]


async def test_too_many_packets_in_one_post_are_not_lost_silently(polling: Polling) -> None:
    """A POST with more packets than the bound ends the session, which its client sees."""
    await polling.post("\x1e".join(['42["ask"]'] * (engineio_fixes.PACKETS_PER_POST + 1)))
    assert await polling.server.call("disconnect") == ("parse error",)
    assert await polling.status() == 400
