"""One attempt at an answer, as it is being written: gathered, numbered, cut into entries.

Pure but for its timer; the writer asks it for what there is to write, and tells it what
stands in Redis.
"""

import asyncio
import dataclasses
from collections.abc import Callable, Iterator
from typing import Protocol

from ..protocol.entries import Ending, Entry, entry_order
from ..protocol.errors import Expired
from ..protocol.stream_names import is_own

MAX_ENTRY_CHARS = 8_192  # a longer gathering is cut into several entries
MAX_WAITING_CHARS = 1_048_576  # per answer: while Redis is away, the model waits beyond this
FIRST_PIECE = 1  # its number: nobody waits longer than for this one
PAGE_S = 1.0  # what stands in the stream is copied to the archive after so many seconds,
PAGE_CHARS = 65_536  # or once it is so long


class Writer(Protocol):
    """Who writes it."""

    gathered: int

    def note(self, answer: "AnswerInProgress", *, urgent: bool = False) -> None:
        """Remember that there is something to write."""

    def forget(self, answer: "AnswerInProgress") -> None:
        """Drop what has not been sent."""


class AnswerInProgress:
    """One attempt at an answer, as it is being written."""

    def __init__(self, writer: Writer, stream: str, question_id: str, attempt: int) -> None:
        self.stream = stream
        self.question_id = question_id
        self.attempt = attempt
        self.started_ms = 0  # Redis's time of the START, once it is written
        self.on_first_piece: Callable[[int], None] | None = None  # gets Redis's time of it
        self._writer = writer
        self._number = 0
        self._waiting: list[str] = []  # of one kind: text, or thought
        self._is_thought = False
        self._waiting_before: list[tuple[str, bool]] = []  # of the other kind, in turn
        self._waiting_chars = 0
        self._first_text = 0  # number of the first entry with text
        self._room = asyncio.Event()
        self._started: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._ending: Ending | None = None
        self._has_own_stream = is_own(stream, question_id)
        self._closed = False  # the END has been cut
        self._abandoned = False
        self._unpaged: list[Entry] = []
        self._unpaged_chars = 0
        self._due = False
        # A START behind somebody's END must not get into the archive, which would then
        # say that the answer has begun anew: a later attempt is held until that is known.
        self._held = attempt > 1
        self._page_timer: asyncio.TimerHandle | None = None

    async def start(self) -> str:
        """Write the START; returns its id once it stands in the stream.

        Raises Expired, as `end` does, where what should be the stream is none.
        """
        self._writer.note(self, urgent=True)
        return await asyncio.shield(self._started)

    async def append(self, text: str) -> None:
        """Add a piece; returns once it is gathered, which is at once unless Redis is far behind."""
        await self._gather(text, is_thought=False)

    async def think(self, text: str) -> None:
        """Add what the model thinks, likewise."""
        await self._gather(text, is_thought=True)

    async def _gather(self, text: str, *, is_thought: bool) -> None:
        while self._waiting_chars >= MAX_WAITING_CHARS and not self._abandoned:
            self._room.clear()
            await self._room.wait()
        if self._abandoned:
            return
        if is_thought is not self._is_thought:
            self._turn(is_thought)
        self._waiting.append(text)
        self._waiting_chars += len(text)
        self._writer.gathered += 1
        first = self._number <= FIRST_PIECE or not (is_thought or self._first_text)
        self._writer.note(self, urgent=first)

    def _turn(self, is_thought: bool) -> None:
        """Go on with the other kind: an entry holds text or thought, never both."""
        if self._waiting:
            self._waiting_before.append(("".join(self._waiting), self._is_thought))
            self._waiting = []
        self._is_thought = is_thought

    async def end(self, ending: Ending) -> str:
        """Write what has gathered, and the END; returns its id once all of it stands in Redis."""
        self._ending = ending
        self._writer.note(self, urgent=True)
        return await asyncio.shield(self._ended)

    def go_on(self) -> None:
        """Let a later attempt be archived: no earlier one has ended."""
        self._held = False
        if self._unpaged:
            self._start_timer()

    def abandon(self) -> None:
        """Write nothing more of this attempt: it is another worker's question now."""
        self._abandoned = True
        self._room.set()
        self._stop_timer()
        self._writer.forget(self)

    def cut(self) -> Iterator[Entry]:
        """Take what has gathered, as numbered entries; called by the writer."""
        if self._number == 0:
            yield self._numbered(Entry.start(self.question_id, self.attempt))
        before, self._waiting_before = self._waiting_before, []
        for gathered, is_thought in before:
            yield from self._pieces(_well_formed(gathered, final=True)[0], is_thought)
        text, held_back = _well_formed("".join(self._waiting), final=self._ending is not None)
        self._waiting = [held_back] if held_back else []
        self._waiting_chars = len(held_back)
        yield from self._pieces(text, self._is_thought)
        if self._ending and not self._closed:
            self._closed = True
            end = Entry.end(self.question_id, self.attempt, self._number, self._ending)
            yield self._numbered(end)

    def _pieces(self, text: str, is_thought: bool) -> Iterator[Entry]:
        for begin in range(0, len(text), MAX_ENTRY_CHARS):
            piece = text[begin : begin + MAX_ENTRY_CHARS]
            entry = Entry(self.question_id, piece, self.attempt, self._number)
            if is_thought:
                entry = dataclasses.replace(entry, text="", reasoning=piece)
            elif not self._first_text:
                self._first_text = self._number
            yield self._numbered(entry)

    def written(self, entry: Entry, entry_id: str) -> None:
        """Hear that an entry stands in the stream; called by the writer."""
        self._room.set()
        if entry.is_start:
            self._started.set_result(entry_id)
            self.started_ms = entry_order(entry_id)[0]
        elif entry.number == self._first_text and entry.is_piece and self.on_first_piece:
            self.on_first_piece(entry_order(entry_id)[0])
        if self._abandoned:
            return
        if self._has_own_stream:  # which is its archive
            if entry.ending:
                self._ended.set_result(entry_id)
            return
        self._unpaged.append(dataclasses.replace(entry, id=entry_id))
        self._unpaged_chars += len(entry.text) + len(entry.reasoning)
        if entry.ending or self._unpaged_chars >= PAGE_CHARS:
            self._page_is_due()
        else:
            self._start_timer()

    def refused(self) -> None:
        """Hear that there is no stream to write to; called by the writer."""
        self.abandon()
        for promise in (self._started, self._ended):
            if not promise.done():
                promise.set_exception(Expired())
                promise.exception()  # which counts as looked at: perhaps nobody waits

    def page(self) -> list[Entry]:
        """Take the entries that the archive should get now, if any; called by the writer."""
        if not self._due:
            return []
        page, self._unpaged, self._unpaged_chars = self._unpaged, [], 0
        self._stop_timer()
        return page

    def paged(self, page: list[Entry]) -> None:
        """Hear that a page stands in the archive; called by the writer."""
        if page[-1].ending:
            self._ended.set_result(page[-1].id)

    def _page_is_due(self) -> None:
        self._due = True
        self._writer.note(self)

    def _start_timer(self) -> None:
        if self._page_timer is None and not self._held:
            loop = asyncio.get_running_loop()
            self._page_timer = loop.call_later(PAGE_S, self._page_is_due)

    def _stop_timer(self) -> None:
        self._due = False
        if self._page_timer:
            self._page_timer.cancel()
            self._page_timer = None

    def _numbered(self, entry: Entry) -> Entry:
        self._number += 1
        return entry


def _well_formed(text: str, *, final: bool) -> tuple[str, str]:
    """Make text that can be written as UTF-8, and what has to wait for its other half.

    Some providers cut an emoji between two pieces, which JSON decodes to lone
    surrogates; half a pair at the end is held back unless the text is final.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        held_back = text[-1] if not final and "\ud800" <= text[-1] <= "\udbff" else ""
        whole = text[: len(text) - len(held_back)]
        return whole.encode("utf-16", "surrogatepass").decode("utf-16", "replace"), held_back
    return text, ""
