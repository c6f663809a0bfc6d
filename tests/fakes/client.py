"""A Socket.IO client that does what our page does, at the cost that a test can afford.

It asks, resumes and stops, folds what comes in, reconnects by itself, and keeps
count of all that should never come. Protocol: Engine.IO 4 over a WebSocket, one
packet a frame.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp

from tests.fakes.openai_endpoint import foreign_pieces, piece_count

PATIENCE_S = 20.0  # what is waited for comes soon; this is for machines under load
RETRY_S = 0.1  # pause before a new connection, and before a request that was refused for now

Meta = dict[str, Any]


class Lost(Exception):
    """The connection broke before the acknowledgement came."""


class Refused(Exception):
    """A request was acknowledged with an error."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["code"])
        self.code: str = error["code"]
        self.error = error


@dataclass(eq=False)
class Answer:
    """What has come of one answer: the page's fold, and counts of what the fold hides."""

    question_id: str
    question: str = ""
    accepted: bool = False
    attempt: int = 0
    next_number: int = 0
    last_id: str | None = None
    status: str = "running"
    error: dict[str, Any] | None = None
    pieces: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    metas: list[Meta] = field(default_factory=list)  # of what was folded in, START to END
    arrivals: list[float] = field(default_factory=list)  # monotonic times of the pieces
    starts: int = 0
    ends: int = 0
    doubled: int = 0  # entries that had come before, or came after the END
    stale: int = 0  # entries of an older attempt
    holes: int = 0
    unmarked: int = 0  # entries that had come before, over any connection, and did not say so
    redelivered: int = 0  # entries that said so
    broke_off: int = 0  # times the server could not go on reading
    replayed: bool = False  # asked for twice by one client, who then expects doubles
    _waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The words so far."""
        return "".join(self.pieces)

    @property
    def reasoning(self) -> str:
        """What the model thought so far."""
        return "".join(self.thoughts)

    @property
    def said(self) -> int:
        """How many pieces of the model's there are in it."""
        return max(len(self.pieces), piece_count(self.text))

    @property
    def open(self) -> bool:
        """Whether the END is still to come."""
        return self.status == "running"

    @property
    def foreign(self) -> int:
        """How many pieces of other answers stand in this one."""
        return foreign_pieces(self.question, self.text) if self.question else 0

    @property
    def largest_gap_s(self) -> float:
        """The longest time between two pieces."""
        pairs = itertools.pairwise(self.arrivals)
        return max((later - earlier for earlier, later in pairs), default=0.0)

    def take(self, text: str, meta: Meta) -> None:
        """Take in one `chunk` event."""
        marked = meta.get("redelivered", False)
        self.redelivered += marked
        doubled = self.doubled
        self._fold(text, {name: value for name, value in meta.items() if name != "redelivered"})
        self.unmarked += self.doubled > doubled and not marked
        for check, found in self._waiters:
            if not found.done() and check():
                found.set_result(None)

    def end(self, error: dict[str, Any]) -> None:
        """End without an END: the server has refused to go on."""
        self.take("", {"attempt": self.attempt, "status": "failed", "error": error})

    def _fold(self, text: str, meta: Meta) -> None:
        number = meta.get("number")
        if meta.get("notice"):
            return
        if not self.open:
            self.doubled += 1
            self.ends += "status" in meta
        elif meta["attempt"] < self.attempt:
            self.stale += 1
        elif number is None:
            self._close(meta)  # an end that stands in no stream
        else:
            self._count(text, number, meta)

    def _count(self, text: str, number: int, meta: Meta) -> None:
        if meta["attempt"] > self.attempt:
            self.attempt, self.next_number = meta["attempt"], 0
            self.pieces.clear()
            self.thoughts.clear()
        if number != self.next_number:
            self.doubled += number < self.next_number
            self.holes += number > self.next_number
            return
        self.next_number += 1
        self.last_id = meta["id"]
        self.metas.append(meta)
        if "status" in meta:
            self._close(meta)
        elif number == 0:
            self.starts += 1
        elif "reasoning" in meta:
            self.thoughts.append(meta["reasoning"])
        else:
            self.pieces.append(text)
            self.arrivals.append(time.monotonic())

    def _close(self, meta: Meta) -> None:
        self.status, self.error = meta["status"], meta.get("error")
        self.ends += 1

    async def wait(
        self, check: Callable[[], bool], what: str, timeout_s: float = PATIENCE_S
    ) -> None:
        """Wait until this holds; it is looked at after each chunk."""
        if check():
            return
        found: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((check, found))
        try:
            async with asyncio.timeout(timeout_s):
                await found
        except TimeoutError:
            raise TimeoutError(f"not {what} within {timeout_s} s: {self!r}") from None
        finally:
            self._waiters.remove((check, found))

    async def received(self, pieces: int, timeout_s: float = PATIENCE_S) -> None:
        """Wait until the current attempt has given so many pieces of the model's.

        On their way several of them may have become one.
        """
        await self.wait(lambda: self.said >= pieces, f"{pieces} pieces", timeout_s)

    async def thought(self, text: str, timeout_s: float = PATIENCE_S) -> None:
        """Wait until this has been thought in the current attempt."""
        await self.wait(lambda: text in self.reasoning, f"thought {text!r}", timeout_s)

    async def read(self, entries: int, timeout_s: float = PATIENCE_S) -> None:
        """Wait until so many entries were folded in, those of older attempts counted."""
        await self.wait(lambda: len(self.metas) >= entries, f"{entries} entries", timeout_s)

    async def read_or_ended(self, entries: int, timeout_s: float = PATIENCE_S) -> None:
        """Wait until so many entries were folded in, or there will be no more."""
        await self.wait(
            lambda: len(self.metas) >= entries or not self.open, f"{entries} entries", timeout_s
        )

    async def begun_anew(self, attempt: int, timeout_s: float = PATIENCE_S) -> None:
        """Wait for the first piece of this attempt, or of a later one."""
        await self.wait(
            lambda: self.attempt >= attempt and bool(self.pieces or not self.open),
            f"attempt {attempt}",
            timeout_s,
        )

    async def ended(self, timeout_s: float = PATIENCE_S) -> Self:
        """Wait for the END; returns the answer."""
        await self.wait(lambda: not self.open, "ended", timeout_s)
        return self

    def __repr__(self) -> str:
        return (
            f"<answer {self.question_id} {self.status} {self.error and self.error['code']}: "
            f"attempt {self.attempt}, {len(self.pieces)} pieces, starts {self.starts}, "
            f"ends {self.ends}, doubled {self.doubled}, stale {self.stale}, holes {self.holes}, "
            f"broke off {self.broke_off}>"
        )


class Client:
    """One person's tab. It goes on with what is under way whenever it has reconnected.

    Of several addresses it tries one after the other, from the first on. As a
    context manager it connects, and disconnects in the end.
    """

    def __init__(self, http: aiohttp.ClientSession, *urls: str, user_id: str | None = None) -> None:
        self.urls = list(urls)
        self.acknowledges = True  # what it is asked to; the original's page never does
        self._connect = "40" + (json.dumps({"userId": user_id}) if user_id else "")
        self.answers: dict[str, Answer] = {}
        self.strays: list[tuple[str, Meta]] = []  # chunks of questions that are not ours
        self.connects = 0
        self._http = http
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._connected = asyncio.Event()
        self._reading = asyncio.Event()
        self._reading.set()
        self._acks: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._numbers = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._keep(self._stay_connected())
        async with asyncio.timeout(PATIENCE_S):
            await self._connected.wait()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    async def ask(
        self,
        question: str,
        *,
        topic: str = "Redis",
        question_id: str | None = None,
        persistent: bool = False,
    ) -> Answer:
        """Ask; returns once the question is accepted. Raises Refused.

        Who is persistent asks again where the refusal says that this may help.
        """
        question_id = question_id or str(uuid.uuid4())
        answer = self.answers.setdefault(question_id, Answer(question_id, question))
        payload = {"topic": topic, "topicQuestion": question, "questionId": question_id}
        repeated = False
        while True:
            try:
                ack = await self.request("askQuestion", payload)
            except Lost:
                repeated = True
                await asyncio.sleep(RETRY_S)  # the socket may not know yet that it is closed
                async with asyncio.timeout(PATIENCE_S):
                    await self._connected.wait()
                continue
            if ack["ok"]:
                answer.accepted = True
                return answer
            if not ((repeated or persistent) and ack["error"]["retryable"]):
                raise Refused(ack["error"])
            await asyncio.sleep(RETRY_S)

    async def resume(
        self, question_id: str, *, question: str = "", after: str | None = None
    ) -> Answer:
        """Read an answer, from behind an entry or from its start. Raises Refused."""
        answer = self.answers[question_id] = Answer(question_id, question, last_id=after)
        await self._resume(answer)
        return answer

    async def resume_behind(self, known: Answer, count: int, *, after: str | None = None) -> Answer:
        """Read on behind the first `count` entries of an answer that somebody has whole.

        The answer begins as this person's would: with what those entries say. The place
        to go on from may be named by another entry, `after`.
        """
        answer = Answer(known.question_id, known.question)
        pieces = iter(known.pieces)
        for meta in known.metas[:count]:
            is_piece = meta["number"] > 0 and not {"status", "reasoning"} & meta.keys()
            answer.take(next(pieces) if is_piece else "", meta)
        answer.last_id = after or answer.last_id
        self.answers[known.question_id] = answer
        await self._resume(answer)
        return answer

    async def _resume(self, answer: Answer) -> None:
        payload = {"questionId": answer.question_id}
        if answer.last_id:
            payload["after"] = answer.last_id
        ack = await self.request("resumeQuestion", payload)
        if not ack["ok"]:
            raise Refused(ack["error"])
        answer.accepted = True

    async def stop(self, question_id: str) -> dict[str, Any]:
        """Stop an answer; returns the acknowledgement. Raises Refused."""
        ack = await self.request("stopQuestion", {"questionId": question_id})
        if not ack["ok"]:
            raise Refused(ack["error"])
        return ack

    async def request(
        self, event: str, payload: Any, timeout_s: float = PATIENCE_S
    ) -> dict[str, Any]:
        """Emit an event; returns its acknowledgement. Raises Lost."""
        if self._socket is None:
            raise Lost
        number = next(self._numbers)
        self._acks[number] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout_s):
                await self._socket.send_str(f"42{number}{json.dumps([event, payload])}")
                return await self._acks[number]
        except ConnectionError:
            raise Lost from None
        finally:
            del self._acks[number]

    async def connected(self, times: int) -> None:
        """Wait until it has been connected so many times in all."""
        async with asyncio.timeout(PATIENCE_S):
            while self.connects < times:
                self._connected.clear()
                await self._connected.wait()

    async def drop(self) -> None:
        """Lose the connection; the next one is made at once."""
        if self._socket:
            await self._socket.close()

    def stop_reading(self) -> None:
        """Take nothing more from the connection, as a frozen tab does."""
        self._reading.clear()

    def read_on(self) -> None:
        """Read again, first what has gathered."""
        self._reading.set()

    async def _stay_connected(self) -> None:
        for turn in itertools.count():
            if turn:
                await asyncio.sleep(RETRY_S)
            url = self.urls[turn % len(self.urls)]
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                await self._connection(url)

    async def _connection(self, url: str) -> None:
        address = f"{url}/socket.io/?EIO=4&transport=websocket"
        async with self._http.ws_connect(address, max_msg_size=0) as socket:
            await _expect(socket, "0")
            await socket.send_str(self._connect)
            await _expect(socket, "40")
            self._socket = socket
            self.connects += 1
            self._connected.set()
            for answer in self.answers.values():
                if answer.open and answer.accepted:
                    self._keep(self._go_on(answer))
            try:
                await self._read(socket)
            finally:
                self._socket = None
                self._connected.clear()
                for ack in self._acks.values():
                    if not ack.done():
                        ack.set_exception(Lost())

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            await self._reading.wait()
            frame = await socket.receive()
            if frame.type is not aiohttp.WSMsgType.TEXT:
                return
            if frame.data == "2":  # a ping
                await socket.send_str("3")
            elif frame.data.startswith("42"):
                number, _, rest = frame.data[2:].partition("[")
                event, *arguments = json.loads(f"[{rest}")
                if event == "chunk":
                    self._take(*arguments)
                if number and self.acknowledges:
                    await socket.send_str(f"43{number}[]")
            elif frame.data.startswith("43"):
                number, _, rest = frame.data[2:].partition("[")
                self._acks[int(number)].set_result(json.loads(f"[{rest}")[0])

    def _take(self, text: str, meta: Meta) -> None:
        answer = self.answers.get(meta["questionId"])
        if meta["attempt"] == 0:
            pass  # a refusal, for pages that pass no callback
        elif answer is None:
            self.strays.append((text, meta))
        elif answer.open and _is_for_now(meta):
            answer.broke_off += 1
            self._keep(self._go_on(answer, RETRY_S))
        else:
            answer.take(text, meta)

    async def _go_on(self, answer: Answer, pause_s: float = 0.0) -> None:
        """Resume after a break, until that is accepted, or refused for good."""
        while answer.open:
            await asyncio.sleep(pause_s)
            try:
                await self._resume(answer)
                return
            except Lost:
                return  # the next connection goes on
            except Refused as exc:
                if not exc.error["retryable"]:
                    answer.end(exc.error)
                pause_s = RETRY_S

    def _keep(self, running: Any) -> None:
        task = asyncio.create_task(running)
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None:  # a fault is raised at the exit
            self._tasks.discard(task)


def _is_for_now(meta: Meta) -> bool:
    """Whether this end stands in no stream, and reading again may help."""
    error = meta.get("error")
    return "status" in meta and "number" not in meta and bool(error and error["retryable"])


async def _expect(socket: aiohttp.ClientWebSocketResponse, packet: str) -> None:
    frame = await socket.receive(timeout=PATIENCE_S)
    if frame.type is not aiohttp.WSMsgType.TEXT or not frame.data.startswith(packet):
        raise ConnectionError(f"the server sent {frame!r} where packet {packet} was due")
