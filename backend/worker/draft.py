"""One attempt at an answer, as it is being written: gathered, numbered, made into entries.

It does no I/O: whoever writes it takes the entries that are due, and tells it which of them
stand in Redis.
"""

import asyncio
from collections.abc import Callable, Iterator

from ..protocol.entries import Ending, Entry, entry_order
from ..protocol.errors import Expired

MAX_ENTRY_CHARS = 8_192  # a longer gathering becomes several entries
MAX_WAITING_CHARS = 1_048_576  # per answer: while Redis is away, the model waits beyond this
FIRST_PIECE = 1  # its number: nobody waits longer than for this one

# Called where there is something to write, and whether it is urgent.
Due = Callable[["Draft", bool], None]


class Draft:
    """One attempt at an answer, as it is being written to `stream`.

    `started_ms` and `first_text_ms` are Redis's times of the START and of the first entry with
    text; 0 until they are written.
    """

    def __init__(self, stream: str, question_id: str, attempt: int, due: Due) -> None:
        self.stream = stream
        self.question_id = question_id
        self.attempt = attempt
        self.started_ms = 0
        self.first_text_ms = 0
        self.is_abandoned = False
        self._due = due
        self._number = 0
        self._pieces = 0  # that were gathered since entries were last taken
        self._waiting: list[str] = []  # of one kind: text, or thought
        self._is_thought = False
        self._waiting_before: list[tuple[str, bool]] = []  # of the other kind, in turn
        self._waiting_chars = 0
        self._first_text = 0  # number of the first entry with text
        self._room = asyncio.Event()
        self._started: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._ending: Ending | None = None
        self._has_ended = False  # the END has been taken

    async def start(self) -> str:
        """Have the START written; returns its id once it stands in Redis.

        Raises Expired, as `end` does, where what should be the stream is none.
        """
        self._due(self, True)
        return await asyncio.shield(self._started)

    async def append(self, text: str) -> None:
        """Add a piece; returns once it is gathered, which is at once unless Redis is far behind."""
        await self._gather(text, is_thought=False)

    async def think(self, text: str) -> None:
        """Add what the model thinks, likewise."""
        await self._gather(text, is_thought=True)

    async def end(self, ending: Ending) -> str:
        """Have what was gathered written, and the END; returns its id once all stands in Redis."""
        self._ending = ending
        self._due(self, True)
        return await asyncio.shield(self._ended)

    def abandon(self) -> None:
        """Have nothing more written of this attempt: it is another worker's question now."""
        self.is_abandoned = True
        self._room.set()

    def take(self) -> tuple[list[Entry], int]:
        """Take what is due as numbered entries, and how many pieces were gathered for them."""
        pieces, self._pieces = self._pieces, 0
        return ([] if self.is_abandoned else list(self._take())), pieces

    def written(self, entry: Entry, entry_id: str) -> None:
        """Hear that an entry stands in Redis."""
        self._room.set()
        if entry.is_start:
            self._started.set_result(entry_id)
            self.started_ms = entry_order(entry_id)[0]
        elif entry.ending:
            self._ended.set_result(entry_id)
        elif entry.number == self._first_text:
            self.first_text_ms = entry_order(entry_id)[0]

    def refused(self) -> None:
        """Hear that there is no stream, or no log, to write to."""
        self.abandon()
        for promise in (self._started, self._ended):
            if not promise.done():
                promise.set_exception(Expired())
                promise.exception()  # which counts as looked at: perhaps nobody waits

    async def _gather(self, text: str, *, is_thought: bool) -> None:
        while self._waiting_chars >= MAX_WAITING_CHARS and not self.is_abandoned:
            self._room.clear()
            await self._room.wait()
        if self.is_abandoned:
            return
        if is_thought is not self._is_thought:
            self._turn(is_thought)
        self._waiting.append(text)
        self._waiting_chars += len(text)
        self._pieces += 1
        self._due(self, self._number <= FIRST_PIECE or not (is_thought or self._first_text))

    def _turn(self, is_thought: bool) -> None:
        """Go on with the other kind: an entry holds text or thought, never both."""
        if self._waiting:
            self._waiting_before.append(("".join(self._waiting), self._is_thought))
            self._waiting = []
        self._is_thought = is_thought

    def _take(self) -> Iterator[Entry]:
        if self._number == 0:
            yield self._numbered(Entry.start(self.question_id, self.attempt))
        before, self._waiting_before = self._waiting_before, []
        for gathered, is_thought in before:
            yield from self._entries(_well_formed(gathered, final=True)[0], is_thought)
        text, held_back = _well_formed("".join(self._waiting), final=self._ending is not None)
        self._waiting = [held_back] if held_back else []
        self._waiting_chars = len(held_back)
        yield from self._entries(text, self._is_thought)
        if self._ending and not self._has_ended:
            self._has_ended = True
            end = Entry.end(self.question_id, self.attempt, self._number, self._ending)
            yield self._numbered(end)

    def _entries(self, text: str, is_thought: bool) -> Iterator[Entry]:
        for begin in range(0, len(text), MAX_ENTRY_CHARS):
            piece = text[begin : begin + MAX_ENTRY_CHARS]
            said, thought = ("", piece) if is_thought else (piece, "")
            if said and not self._first_text:
                self._first_text = self._number
            yield self._numbered(
                Entry(self.question_id, said, self.attempt, self._number, reasoning=thought)
            )

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
