"""A client that speaks just enough Engine.IO and Socket.IO to ask and to check the answer.

It costs a fraction of a full client, so that hundreds of them in one process do
not measure themselves. Protocol: Engine.IO 4 over a WebSocket, one packet a frame.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import aiohttp

from tests.fakes.openai_endpoint import expected_answer, foreign_pieces

Verdict = Literal["right", "wrong", "failed", "hung"]

_LABEL = re.compile(r"START:(?P<start>.+);<br/>|<br/>;END:(?P<end>.+)")


@dataclass(slots=True)
class Answer:
    """What came back for one question, and whether it is what had to come."""

    question: str
    tokens: int
    asked_at: float = 0.0
    first_at: float | None = None
    ended_at: float | None = None
    pieces: int = 0
    foreign: int = 0
    stray: int = 0  # pieces of our own before the START or after the END
    error: str | None = None
    arrivals: list[tuple[float, int]] = field(default_factory=list)  # time, characters so far
    _id: str | None = None
    _text: list[str] = field(default_factory=list)
    _chars: int = 0

    def take(self, text: str, meta: Mapping[str, Any]) -> None:
        """Take in the arguments of one `chunk` event; `meta` is empty where a server sends none."""
        if label := _LABEL.fullmatch(text):
            self._take_label(label["start"], label["end"], meta)
        elif meta.get("notice") is not True:
            self._take_piece(text)

    def _take_label(self, start: str | None, end: str | None, meta: Mapping[str, Any]) -> None:
        if self._id is None:
            self._id = start  # the first START is that of our own question
        if (start or end) != self._id:
            self.foreign += 1
        elif start:
            self._text.clear()  # another attempt begins anew
            self.arrivals.clear()
            self._chars = 0
        elif self.ended_at is None:
            self.ended_at = time.perf_counter()
            if meta.get("status", "done") != "done":
                self.error = str((meta.get("error") or {}).get("code", meta["status"]))
        else:
            self.stray += 1

    def _take_piece(self, text: str) -> None:
        self.foreign += foreign_pieces(self.question, text)
        if self._id is None or self.ended_at is not None:
            self.stray += 1
            return
        if self.first_at is None:
            self.first_at = time.perf_counter()
        self.pieces += 1
        self._text.append(text)
        self._chars += len(text)
        self.arrivals.append((time.perf_counter(), self._chars))

    @property
    def verdict(self) -> Verdict:
        """Right only if every byte is there, nothing else is, and the end was seen."""
        if self.ended_at is None:
            return "hung"
        if self.error:
            return "failed"
        whole = "".join(self._text) == expected_answer(self.question, self.tokens)
        return "right" if whole and not self.foreign and not self.stray else "wrong"


class Client:
    """One socket that asks one question; made by `connected`."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, answer: Answer) -> None:
        self.answer = answer
        self.ended = asyncio.Event()  # set where the socket was closed, too
        self._socket = socket

    async def ask(self, topic: str) -> None:
        """Send the question; the answer is taken in by `listen`."""
        event = ["askQuestion", {"topic": topic, "topicQuestion": self.answer.question}]
        self.answer.asked_at = time.perf_counter()
        await self._socket.send_str(f"42{json.dumps(event)}")

    async def listen(self) -> None:
        """Take in what the server sends until the socket is closed, past the END as well."""
        try:
            async for frame in self._socket:
                if frame.type is not aiohttp.WSMsgType.TEXT:
                    continue
                if frame.data == "2":  # ping
                    await self._socket.send_str("3")
                elif frame.data.startswith("42"):
                    self._receive(json.loads(frame.data[2:]))
        except ConnectionError:
            pass  # an answer that has not ended by now counts as hung
        finally:
            self.ended.set()

    def _receive(self, event: list[Any]) -> None:
        if event[0] == "chunk":
            meta = event[2] if len(event) > 2 and isinstance(event[2], dict) else {}
            self.answer.take(event[1], meta)
            if self.answer.ended_at is not None:
                self.ended.set()


@asynccontextmanager
async def connected(
    http: aiohttp.ClientSession, url: str, question: str, tokens: int
) -> AsyncIterator[Client]:
    """A client that is connected and listens; closed at the exit."""
    address = f"{url}/socket.io/?EIO=4&transport=websocket"
    async with http.ws_connect(address, max_msg_size=0) as socket:
        await _expect(socket, "0")
        await socket.send_str("40")
        await _expect(socket, "40")
        client = Client(socket, Answer(question, tokens))
        listening = asyncio.create_task(client.listen())
        try:
            yield client
        finally:
            await socket.close()
            await listening


async def _expect(socket: aiohttp.ClientWebSocketResponse, packet: str) -> None:
    frame = await socket.receive_str(timeout=30)
    if not frame.startswith(packet):
        raise ConnectionError(f"the server sent {frame!r} where packet {packet} was due")
