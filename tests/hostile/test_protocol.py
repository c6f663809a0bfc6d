"""Packets and frames by chance and by design: a session ends at worst, its process never."""

import asyncio
import contextlib
import json
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.faults.stack import Stack
from tests.hostile.wire import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    SESSION,
    TEXT,
    event,
    exchange,
    frame,
    wired,
)

# The same examples in each run: what is found by chance has to be found again.
by_chance = settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
pytestmark = pytest.mark.asyncio(loop_scope="session")

ASK = '42["askQuestion",{"topic":"Redis","topicQuestion":"?","questionId":"x"}]'
DEEP = "[" * 50_000
VALID = [
    "40", "41", "2", "3", "5", "6", "2probe", "40/admin,{}", ASK, "42[]", '421["stopQuestion",{}]',
    '43"1"', '431[{}]', '44{"message":"x"}', '450-["a"]',
    '451-["resumeQuestion",{"_placeholder":true,"num":0}]', '461-[{"_placeholder":true,"num":0}]',
    '42["askQuestion",' + DEEP, '42["askQuestion",{"topic":' + "9" * 5_000 + "}]",
    '42["askQuestion",{"topic":1e999,"topicQuestion":-Infinity}]', '42["askQuestion",NaN]',
    '42["askQuestion",{"topic":"\\ud800","topicQuestion":"\\udfff"}]',
    '42["askQuestion",{"__proto__":{"topic":"x"},"constructor":1,"__class__":2}]',
    '42["askQuestion",{"topic":"a","topic":["b"],"topicQuestion":"c","topicQuestion":7}]',
    '42["__init__"]', '42["chunk","x",{}]', '42["connect"]', '42["*"]',
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid packet in which a part was replaced by chance."""
    packet = draw(st.sampled_from(VALID)).encode()
    begin = draw(st.integers(0, min(len(packet), 80)))
    end = draw(st.integers(begin, min(len(packet), begin + 20)))
    return packet[:begin] + draw(st.binary(max_size=20) | st.just(b"")) + packet[end:]


packets = mutated() | st.binary(max_size=200) | st.text(max_size=50).map(str.encode)
opcodes = st.sampled_from([0, TEXT, TEXT, TEXT, BINARY, 3, CLOSE, PING, PONG, 15])
frames = st.builds(
    frame, opcodes, packets, fin=st.booleans(), mask=st.booleans(), rsv=st.sampled_from([0, 0, 7])
)
GOODBYE = frame(CLOSE, struct.pack("!H", 1000))


async def send_frames(
    stack: Stack, data: bytes, *, join: bool = True, hang_up: bool = True
) -> int | None:
    """Send these frames in a session of their own, and a goodbye; the server's close code."""
    async with wired(stack.servers[0].port) as wire:
        await (wire.join() if join else wire.begin())
        await wire.send(data + GOODBYE)
        if hang_up:
            with contextlib.suppress(OSError):
                wire.writer.write_eof()
        return await wire.closed_with()


@by_chance
@given(sent=st.lists(frames, max_size=6), join=st.booleans())
async def test_frames_by_chance(stack: Stack, sent: list[bytes], join: bool) -> None:
    """Whatever frames come, the connection ends with them, and the process is well."""
    await send_frames(stack, b"".join(sent), join=join)


@by_chance
@given(sent=st.lists(mutated(), max_size=6))
async def test_packets_by_chance(stack: Stack, sent: list[bytes]) -> None:
    """Whatever packets come over a WebSocket, it ends at worst."""
    await send_frames(stack, b"".join(frame(TEXT, packet) for packet in sent))


@by_chance
@given(bodies=st.lists(st.lists(packets, max_size=4).map(b"\x1e".join), max_size=3))
async def test_bodies_by_chance(stack: Stack, bodies: list[bytes]) -> None:
    """Whatever is posted to a session, it is refused or taken, and never a fault of ours."""
    head = " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    port = stack.servers[0].port
    opened = await exchange(port, f"GET {SESSION}polling{head}\r\n".encode())
    sid = json.loads(opened.partition(b"\r\n\r\n0")[2])["sid"]
    for body in bodies:
        request = f"POST {SESSION}polling&sid={sid}{head}Content-Length: {len(body)}\r\n\r\n"
        status = (await exchange(port, request.encode() + body)).split(b" ")[1]
        assert status in (b"200", b"400")


DESIGNED: dict[str, tuple[bytes, set[int | None]]] = {
    "not UTF-8": (frame(TEXT, b"4\xff\xfe"), {1007}),
    "surrogate": (frame(TEXT, b"4\xed\xa0\x80"), {1007}),
    "no such opcode": (frame(3, b"x"), {1002}),
    "reserved bits": (frame(TEXT, b"3", rsv=4), {1002}),
    "continuation of nothing": (frame(0, b"x"), {1002}),
    "two messages in one": (frame(TEXT, b"4", fin=False) + frame(TEXT, b"2"), {1002}),
    "ping in parts": (frame(PING, b"x", fin=False), {1002}),
    "long ping": (frame(PING, b"x" * 126), {1002}),
    "too long": (struct.pack("!BBQ", 0x81, 0xFF, 2**62) + bytes(4), {1009}),
    "too long in parts": (
        frame(TEXT, b"4", fin=False) + frame(0, b"x" * 600_000, fin=False) * 2, {1009}
    ),
    "no such close": (frame(CLOSE, b"\x00"), {1002}),
    "close of words": (frame(CLOSE, struct.pack("!H", 99) + b"x"), {1002}),
    "attachments for ever": (
        frame(TEXT, b'4510-["askQuestion",{"_placeholder":true,"num":0}]')
        + frame(BINARY, bytes(100_000)) * 9,
        {1000},
    ),
    "ack with a huge id": (frame(TEXT, b"43" + b"9" * 5_000 + b"[]"), {1000}),
    "event with a huge id": (frame(TEXT, b"42" + b"9" * 5_000 + b'["askQuestion"]'), {1000}),
    "one letter a frame": (
        frame(TEXT, b"4", fin=False) + frame(0, b"x", fin=False) * 5_000 + frame(0, b"", fin=True),
        {1000},
    ),
    "empty parts": (frame(TEXT, b"3", fin=False) + frame(0, b"", fin=False) * 20_000
                    + frame(0, b""), {1000}),
}  # fmt: skip


@pytest.mark.parametrize(("data", "codes"), DESIGNED.values(), ids=DESIGNED)
async def test_frames_by_design(stack: Stack, data: bytes, codes: set[int | None]) -> None:
    """What WebSocket forbids is refused in its own words; what it allows is our affair."""
    assert await send_frames(stack, data, hang_up=False) in codes


async def test_polls_that_overlap(stack: Stack) -> None:
    """Fifty polls of one session at once end that session, and wait for nothing."""
    port, head = stack.servers[0].port, " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    opened = await exchange(port, f"GET {SESSION}polling{head}".encode())
    sid = json.loads(opened.partition(b"\r\n\r\n0")[2])["sid"]
    poll = f"GET {SESSION}polling&sid={sid}{head}".encode()
    answers = await asyncio.gather(*(exchange(port, poll) for _ in range(50)))
    assert all(answer.split(b" ")[1] in (b"200", b"400") for answer in answers)


async def test_numbers_that_json_lacks(stack: Stack) -> None:
    """What is no JSON, or no text, is acknowledged as an invalid request or ends the session."""
    payloads = [{"topic": float("nan")}, {"topic": "\ud800", "topicQuestion": "?"}, [[[]]], 1e308]
    async with wired(stack.servers[0].port) as wire:
        await wire.join()
        for number, payload in enumerate(payloads):
            await wire.send(event("askQuestion", payload, number))
            while not (packet := await wire.text()).startswith("43"):
                pass
            assert json.loads(packet[2 + len(str(number)) :])[0]["error"]["code"] == (
                "invalid_request"
            )
