"""The exchange about one question on one connection: requests, acknowledgements, chunks."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...protocol.entries import Ending, parse_error
from ...protocol.errors import Expired
from ...protocol.requests import Ask
from .connection import Connection
from .failures import Refused, own_error
from .inbox import ChunkEvent, Lost, Reply
from .outcome import View
from .reading import Reading, parse_ending

ACK_WITHIN_S = 10.0  # the backend takes under two
LATE_ACK_WITHIN_S = 60.0  # a question is given so much longer, as it may be queued already
END_WITHIN_S = 2.0  # the END is on its way when a stop is acknowledged


class Setback(Exception):
    """A connection is of no more use; the answer may well go on."""


class Silent(Exception):
    """The server says nothing; to ask it again would only be another question."""


class Stopped(Exception):
    """The answer is stopped, and no END has come to say so."""


class StopUnheard(Exception):
    """The server does not say that it has stopped the answer."""


@dataclass(slots=True)
class Progress:
    """How far a question has come: state that outlives a connection."""

    ask: Ask
    reading: Reading
    times_asked: int = 0
    accepted: bool = False  # the server is known to have the question
    entries: int = 0  # of the answer, that have come
    stop_requested: bool = False


class Exchange:
    """Asks or resumes on a fresh connection, and listens until the answer has ended."""

    def __init__(self, connection: Connection, progress: Progress, view: View) -> None:
        self._connection = connection
        self._progress = progress
        self._reading = progress.reading
        self._view = view
        self.heard = False  # the server has the question, and has said so on this connection
        self._due: float | None = None  # loop time by which something has to come
        self._late = False  # nothing has come in time once
        self._stop_sent = False
        self._stop_confirmed = False
        self._replies: dict[str, Callable[[dict[str, Any]], None]] = {
            "askQuestion": self._asked,
            "resumeQuestion": self._resumed,
            "stopQuestion": self._stopped,
        }

    async def run(self) -> Ending:
        """Listen until the answer has ended; returns how.

        Raises Setback where another connection may help; Refused, Silent, Stopped
        and StopUnheard where none does.
        """
        await self._ask_or_resume()
        while not (ending := self._reading.ending):
            try:
                async with asyncio.timeout_at(self._due):
                    received = await self._connection.inbox.get()
            except TimeoutError:
                self._overdue()
                continue
            match received:
                case ChunkEvent() as chunk:
                    await self._take(chunk)
                case Reply(event, dict() as reply):
                    self._replies[event](reply)
                case Lost():
                    raise Setback("The connection was lost")
            await self._send_stop()
        return ending

    def _expect_within(self, seconds: float) -> None:
        self._due = asyncio.get_running_loop().time() + seconds

    async def _ask_or_resume(self) -> None:
        """Request the answer, or the rest of it."""
        ask = self._progress.ask
        if self._progress.accepted:
            after = {"after": self._reading.last_id} if self._reading.last_id else {}
            await self._send("resumeQuestion", after)
        else:
            self._progress.times_asked += 1
            await self._send("askQuestion", {"topic": ask.topic, "topicQuestion": ask.question})
        self._expect_within(ACK_WITHIN_S)
        await self._send_stop()

    async def _send(self, event: str, payload: dict[str, str]) -> None:
        await self._connection.send(event, {"questionId": self._reading.question_id, **payload})

    async def _send_stop(self) -> None:
        """Send a requested stop, once the server has the question: before, it means nothing."""
        if self._progress.stop_requested and self._progress.accepted and not self._stop_sent:
            self._stop_sent = True
            await self._send("stopQuestion", {})

    def _overdue(self) -> None:
        """Decide what a silence means."""
        if self._stop_confirmed:
            raise Stopped
        if self._progress.accepted:
            raise Setback("The server does not answer")
        if self._late:
            raise Silent(f"The server has said nothing for {LATE_ACK_WITHIN_S:.0f} s")
        self._late = True
        self._expect_within(LATE_ACK_WITHIN_S)
        self._view.note("The server does not acknowledge the question; waiting")

    # Acknowledgements

    def _asked(self, reply: dict[str, Any]) -> None:
        self._accept_or_retry(reply, may_retry=self._progress.times_asked > 1)

    def _resumed(self, reply: dict[str, Any]) -> None:
        try:
            self._accept_or_retry(reply, may_retry=True)
        except Refused as exc:
            self._reading.fail(exc.error)

    def _accept_or_retry(self, reply: dict[str, Any], *, may_retry: bool) -> None:
        """Take note that we are heard; raises Refused, or Setback where that is for now only."""
        if not reply.get("ok"):
            error = _error_of(reply)
            if may_retry and error["retryable"]:
                raise Setback(f"The server refuses for now ({error['code']})")
            raise Refused(error)
        self._accept()

    def _accept(self) -> None:
        self.heard = True
        if not self._progress.accepted:
            self._progress.accepted = True
            self._view.note(f"Question {self._reading.question_id} is accepted")
        if not self._stop_confirmed:
            self._due = None

    def _stopped(self, reply: dict[str, Any]) -> None:
        if not reply.get("ok"):
            raise StopUnheard
        self._stop_confirmed = True
        self._expect_within(END_WITHIN_S)

    # Chunks

    async def _take(self, chunk: ChunkEvent) -> None:
        if not self._reading.is_ours(chunk):
            return
        self._accept()
        attempt = self._reading.attempt
        try:
            entry = self._reading.take(chunk)
        except Expired:
            raise Setback("A piece of the answer is missing") from None
        if entry is None:
            self._break_off(chunk)
            return
        self._progress.entries += 1
        if entry.attempt > attempt > 0:
            self._view.restarted(entry.attempt)
        if entry.is_piece and entry.reasoning:
            await self._view.thought(entry.reasoning)
        if entry.is_piece and entry.text:
            await self._view.piece(entry.text)

    def _break_off(self, chunk: ChunkEvent) -> None:
        """An end without a number stands in no stream: the server could not read on."""
        meta = chunk.meta
        if "number" in meta or (ending := parse_ending(meta)) is None:
            return
        if ending.error and ending.error["retryable"]:
            raise Setback(f"The server could not read on ({ending.error['code']})")
        self._reading.ending = ending


def _error_of(reply: dict[str, Any]) -> Any:
    try:
        error = parse_error(reply["error"])
    except (KeyError, TypeError):
        error = None
    return error or own_error("refused", "The server refuses, and does not say why.")
