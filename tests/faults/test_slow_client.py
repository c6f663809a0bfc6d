"""A client that stops reading costs bounded memory, delays nobody, and misses nothing."""

import asyncio
import socket
import time
import uuid

import aiohttp
import psutil  # type: ignore[import-untyped]  # it ships no types
import pytest

from backend.protocol.entries import Ending, Entry
from backend.store.answer_log import Addition, append_entries
from tests.fakes.client import Answer, Client
from tests.faults.stack import Stack

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(240),  # 20 MB for each of two people take a busy machine half a minute
]

PIECES = 10_000
PIECE_CHARS = 2_000  # so that 20 MB are due, more than the system's buffers may hide
WRITTEN_AT_ONCE = 100
KEEP_S = 3600  # longer than the test
GROWTH_MB = 30.0
GAP_S = 1.0
SILENCE_S = 60.0  # no entry for so long is a hang; 13 s were seen with twelve programs on two cores
MB_PER_TAB = 3.0  # a page, a feed and an outbox of pieces as long as these


def narrow_socket(address: tuple[object, ...]) -> socket.socket:
    """A socket with a small buffer, so that little is on the way to one who does not read."""
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)  # type: ignore[arg-type]
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    return made


async def write(stack: Stack, answer: Answer) -> str:
    """Write a long answer as a worker does, faster than any model; returns its text."""
    entries = [Entry.start(answer.question_id, 1)]
    entries += [
        Entry(answer.question_id, f"{number}:".ljust(PIECE_CHARS, "."), 1, number)
        for number in range(1, PIECES + 1)
    ]
    entries.append(Entry.end(answer.question_id, 1, PIECES + 1, Ending("done")))
    stream = await stack.stream(answer)
    for begin in range(0, len(entries), WRITTEN_AT_ONCE):
        batch = [Addition(stream, entry) for entry in entries[begin : begin + WRITTEN_AT_ONCE]]
        await append_entries(stack.store, batch, keep_s=KEEP_S, retention_s=KEEP_S)
    return "".join(entry.text for entry in entries if entry.is_piece)


async def all_of(answer: Answer) -> Answer:
    """Wait for the END as long as entries come: how fast they do is the machine's affair."""
    while answer.open:
        await answer.read_or_ended(len(answer.metas) + 1, SILENCE_S)
    return answer


async def test_who_stops_reading(stack: Stack) -> None:
    """Ten thousand pieces for a frozen tab stay in Redis; when it thaws it gets each in order."""
    await stack.have(servers=1, workers=0)  # we are the worker of the long answer
    connector = aiohttp.TCPConnector(socket_factory=narrow_socket)
    async with aiohttp.ClientSession(connector=connector) as http:
        slow = Client(http, stack.servers[0].url)
        async with slow:
            frozen = await slow.ask("Too much?")
            frozen.question = ""  # its pieces are made up here
            await stack.unqueue(frozen)
            fast = await (await stack.person()).resume(frozen.question_id)
            bystander = await (await stack.person()).ask("Do I have to wait? [[interval_ms=20]]")
            worker = await stack.worker()
            await bystander.received(5)

            process = psutil.Process(stack.servers[0].process.pid)
            before_mb = process.memory_info().rss / 1e6
            slow.stop_reading()
            began = time.monotonic()
            expected = await write(stack, fast)
            await all_of(fast)
            took_s = time.monotonic() - began
            growth_mb = process.memory_info().rss / 1e6 - before_mb
            print(  # noqa: T201
                f"\n{len(expected) / 1e6:.0f} MB for a frozen tab: the server grew by "
                f"{growth_mb:.1f} MB; the other tab had all in {took_s:.1f} s"
            )
            assert fast.text == expected
            assert frozen.open
            assert len(frozen.pieces) < PIECES // 2
            assert growth_mb < GROWTH_MB
            await stack.whole(bystander)
            assert bystander.largest_gap_s < GAP_S

            slow.read_on()
            await all_of(frozen)
            assert frozen.text == expected
            assert (frozen.ends, frozen.doubled, frozen.holes, slow.connects) == (1, 0, 0, 1)
            await stack.kill(worker)


async def test_many_who_stop_reading(stack: Stack) -> None:
    """Thirty frozen tabs of one long answer cost a page of it each, and no more."""
    await stack.have(servers=1, workers=0)
    connector = aiohttp.TCPConnector(socket_factory=narrow_socket, limit=0)
    async with aiohttp.ClientSession(connector=connector) as http:
        tabs = [Client(http, stack.servers[0].url) for _ in range(30)]
        person = await stack.person()
        answer = await person.ask(f"Too many? {uuid.uuid4()}")
        answer.question = ""
        await stack.unqueue(answer)
        for tab in tabs:
            await tab.__aenter__()
            await tab.resume(answer.question_id)
            tab.stop_reading()
        process = psutil.Process(stack.servers[0].process.pid)
        before_mb = process.memory_info().rss / 1e6
        expected = await write(stack, answer)
        await all_of(answer)
        growth_mb = process.memory_info().rss / 1e6 - before_mb
        print(f"\n{len(tabs)} frozen tabs: the server grew by {growth_mb:.1f} MB")  # noqa: T201
        assert answer.text == expected
        assert growth_mb < len(tabs) * MB_PER_TAB
        await asyncio.gather(*(tab.__aexit__() for tab in tabs))
