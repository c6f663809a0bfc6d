"""The fold that makes an answer of its entries.

Pure: no I/O, no clock. An answer is the fold of its entries in stream order;
every reader, anywhere, comes to the same text.
"""

from .entries import Ending, Entry
from .errors import Expired


class Fold:
    """Decides, entry by entry in stream order, what belongs to one answer.

    A START with a higher attempt begins anew. Whatever comes from before it,
    has come already, or comes behind the END that closed the attempt does not
    count. A write that was repeated, or a worker that does not know yet that it
    was replaced, can therefore do no harm.
    """

    __slots__ = ("attempt", "ending", "next_number")

    def __init__(self, attempt: int = 0, next_number: int = 0) -> None:
        self.attempt = attempt
        self.next_number = next_number
        self.ending: Ending | None = None

    def admits(self, entry: Entry) -> bool:
        """Whether this entry is the next one of the answer; if so, it is counted.

        Raises Expired where an entry before this one is missing: half an answer
        that looks like a whole one would be worse than none.
        """
        if self.ending or entry.attempt < self.attempt:
            return False
        if entry.attempt > self.attempt:
            if not entry.is_start:
                raise Expired
            self.attempt, self.next_number = entry.attempt, 0
        if entry.number < self.next_number:
            return False
        if entry.number > self.next_number:
            raise Expired
        self.next_number += 1
        self.ending = entry.ending
        return True


class Transcript:
    """What an answer consists of so far: the fold, with the text and the ids it was read from."""

    def __init__(self) -> None:
        self.fold = Fold()
        self.start_id = ""
        self.last_id = ""
        self._pieces: list[str] = []
        self._thoughts: list[str] = []
        self._before = ("", "")  # thought and text of the last attempt before that has any

    def add(self, entry: Entry) -> None:
        """Take the next entry of the stream in; raises Expired at a hole."""
        if not self.fold.admits(entry):
            return
        self.last_id = entry.id
        if entry.is_start:
            self.start_id = entry.id
            self._before = self._last
            self._pieces.clear()
            self._thoughts.clear()
        elif entry.is_piece:
            self._pieces.append(entry.text)
            self._thoughts.append(entry.reasoning)

    @property
    def ending(self) -> Ending | None:
        """How the answer ended; None while it has not."""
        return self.fold.ending

    @property
    def text(self) -> str:
        """The answer without its labels."""
        return "".join(self._pieces)

    @property
    def reasoning(self) -> str:
        """What the model thought."""
        return "".join(self._thoughts)

    @property
    def last_words(self) -> str:
        """The text of the last attempt that has said anything."""
        return self._last[1]

    @property
    def last_reasoning(self) -> str:
        """The thought that belongs to it, or that of an attempt that has only thought."""
        return self._last[0]

    @property
    def _last(self) -> tuple[str, str]:
        own = (self.reasoning, self.text)
        return own if own[1] or (own[0] and not self._before[1]) else self._before
