"""Many who ask for nothing, and few who ask for too much: memory stays, others are served."""

import asyncio
import contextlib
import uuid

import psutil  # type: ignore[import-untyped]  # it ships no types
import pytest

from tests.fakes.programs import Program
from tests.faults.stack import Stack
from tests.hostile.wire import PING, SESSION, TEXT, Wire, event, exchange, frame, wired

pytestmark = pytest.mark.asyncio(loop_scope="session")

SILENT = 2_000
KB_PER_CONNECTION = 20.0
KB_PER_SESSION = 40.0
SCANNED = 10_000
MB_PER_FLOOD = 30.0
SERVED_S = 10.0  # a question beside four floods, on a machine that is busy with the flooding, too
NOBODYS = "00000000-0000-4000-8000-000000000000"

FLOODS = {
    "other namespaces": frame(TEXT, b"40/x,"),
    "invalid questions": event("askQuestion", {"x": 1}, 7),
    "the same question": event(
        "askQuestion", {"topic": "t", "topicQuestion": "q", "questionId": str(uuid.uuid4())}, 7
    ),
    "unknown answers": event("resumeQuestion", {"questionId": NOBODYS}, 7),
    "events for nobody": event("nobody", {"x": 1}, 7),
    "acks never asked for": frame(TEXT, b"43" + b"9" * 90 + b'["x"]'),
    "pongs": frame(TEXT, b"3"),
    "pings": frame(PING, b"x" * 100),
}


def rss_kb(server: Program) -> float:
    """The memory of a program."""
    kb: float = psutil.Process(server.process.pid).memory_info().rss / 1e3
    return kb


async def served(stack: Stack, what: str) -> None:
    """Somebody asks and has the whole answer in time."""
    question = f"Am I served beside {what}? {uuid.uuid4()}"
    answer = await (await stack.person()).ask(question)
    await stack.whole(answer, timeout_s=SERVED_S)


async def test_connections_that_say_nothing(stack: Stack) -> None:
    """Two thousand connections without a request cost a few kB each, and nobody's time."""
    server = stack.servers[0]
    before = rss_kb(server)
    async with contextlib.AsyncExitStack() as connections:
        for _ in range(SILENT):
            await connections.enter_async_context(wired(server.port))
        await served(stack, "silence")
        grown_kb = (rss_kb(server) - before) / SILENT
        print(f"\n{SILENT} silent connections: {grown_kb:.1f} kB each")  # noqa: T201
        assert grown_kb < KB_PER_CONNECTION


async def test_sessions_that_never_connect(stack: Stack) -> None:
    """Two thousand sessions that never join cost a few kB each, until their time is up."""
    server = stack.servers[0]
    before = rss_kb(server)
    request = f"GET {SESSION}polling HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    async with wired(server.port) as wire:
        for _ in range(SILENT):
            await wire.send(request)
            assert b" 200 " in await wire.head()
            async with asyncio.timeout(SERVED_S):
                await wire.reader.readuntil(b"}")
        await served(stack, "sessions")
    grown_kb = (rss_kb(server) - before) / SILENT
    print(f"\n{SILENT} sessions without a CONNECT: {grown_kb:.1f} kB each")  # noqa: T201
    assert grown_kb < KB_PER_SESSION


@pytest.mark.parametrize("packet", FLOODS.values(), ids=FLOODS)
async def test_who_sends_without_end_and_never_reads(stack: Stack, packet: bytes) -> None:
    """Four clients that send as fast as they can cost bounded memory; others have their answers."""
    server = stack.servers[0]
    before = rss_kb(server)
    async with contextlib.AsyncExitStack() as connections:
        loud = [
            await (await connections.enter_async_context(wired(server.port))).join()
            for _ in range(4)
        ]
        floods = [asyncio.create_task(pour(wire, packet * 500)) for wire in loud]
        try:
            await served(stack, "a flood")
            await served(stack, "a flood that lasts")
        finally:
            for flood in floods:
                flood.cancel()
            await asyncio.gather(*floods, return_exceptions=True)
    assert (rss_kb(server) - before) / 1e3 < MB_PER_FLOOD


async def pour(wire: Wire, data: bytes) -> None:
    """Send this over and over, as fast as it is taken, and read nothing."""
    while True:
        wire.writer.write(data)
        await wire.writer.drain()


async def test_guessing_ids(stack: Stack) -> None:
    """Ten thousand guesses find nothing, and people are answered meanwhile."""
    guessers = [await stack.person() for _ in range(20)]

    async def guess(number: int) -> None:
        for _ in range(SCANNED // len(guessers)):
            payload = {"questionId": str(uuid.uuid4())}
            ack = await guessers[number].request("resumeQuestion", payload, timeout_s=SERVED_S)
            assert ack["error"]["code"] == "expired"

    guessing = asyncio.gather(*(guess(number) for number in range(len(guessers))))
    try:
        await served(stack, "guesses")
        async with asyncio.timeout(40):
            await guessing
    finally:
        guessing.cancel()
    assert all(guesser.strays == [] for guesser in guessers)


async def test_a_connection_a_request(stack: Stack) -> None:
    """A thousand sessions that are opened and dropped at once leave nothing behind."""
    port = stack.servers[0].port
    close = f"GET {SESSION}polling HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    for _ in range(10):
        answers = await asyncio.gather(*(exchange(port, close) for _ in range(100)))
        assert all(b" 200 " in answer for answer in answers)
