"""One answer as far as it has been received: the fold of its entries."""

import contextlib
import time
from collections.abc import Mapping
from typing import Any

from ...protocol.entries import Ending, Entry, Usage, is_final, parse_error
from ...protocol.errors import ErrorPayload
from ...protocol.transcript import Fold
from .failures import own_error
from .inbox import ChunkEvent


class Reading:
    """An answer as far as it has been received."""

    def __init__(self, question_id: str) -> None:
        self.question_id = question_id
        self.ending: Ending | None = None
        self.last_id: str | None = None
        self.first_piece_at: float | None = None  # of text; monotonic, in seconds
        self._fold = Fold()
        self._pieces: list[str] = []
        self._thoughts: list[str] = []

    @property
    def text(self) -> str:
        """The answer so far."""
        return "".join(self._pieces)

    @property
    def reasoning(self) -> str:
        """What the model has thought so far."""
        return "".join(self._thoughts)

    @property
    def attempt(self) -> int:
        """The attempt that text and thought are of; 0 before the first."""
        return self._fold.attempt

    def is_ours(self, chunk: ChunkEvent) -> bool:
        """Whether a chunk is about this answer, and not a line for pages that know only text."""
        meta = chunk.meta
        return (
            meta.get("questionId") == self.question_id
            and meta.get("attempt") != 0  # a refusal: the acknowledgement says the same
            and not meta.get("notice")
        )

    def take(self, chunk: ChunkEvent) -> Entry | None:
        """Take a chunk in; returns its entry where that is the next one of the answer.

        Raises Expired where one before it is missing.
        """
        entry = parse_chunk(chunk)
        if entry is None or not self._fold.admits(entry):
            return None
        self.last_id = entry.id
        self.ending = entry.ending
        if entry.is_start:
            self._pieces.clear()
            self._thoughts.clear()
        elif entry.is_piece:
            self._add(entry.text)
            self._thoughts.append(entry.reasoning)
        return entry

    def fail(self, error: ErrorPayload) -> None:
        """End without an END: there is no going on."""
        self.ending = Ending("failed", error)

    def _add(self, text: str) -> None:
        if text and self.first_piece_at is None:
            self.first_piece_at = time.monotonic()
        self._pieces.append(text)


def parse_chunk(chunk: ChunkEvent) -> Entry | None:
    """The entry that a chunk shows; None where it shows none, whatever it is."""
    meta = chunk.meta
    with contextlib.suppress(KeyError, TypeError, ValueError):
        return Entry(
            question_id=meta["questionId"],
            text=chunk.text,
            attempt=_count(meta["attempt"]),
            number=_count(meta["number"]),
            ending=parse_ending(meta),
            id=meta["id"],
            reasoning=_text(meta.get("reasoning")) or "",
        )
    return None


def parse_ending(meta: Mapping[str, Any]) -> Ending | None:
    """How an answer ends, as `meta` has it; None where it does not end."""
    status = meta.get("status")
    if not is_final(status):
        return None
    return Ending(
        status,
        read_error(meta.get("error")),
        _text(meta.get("finishReason")),
        Usage.parse(meta.get("usage")),
        _text(meta.get("model")),
    )


def read_error(value: Any) -> ErrorPayload | None:
    """The error that a server tells, however badly; None where it tells none."""
    try:
        return parse_error(value)
    except (KeyError, TypeError):
        return own_error("failed", "The server failed, and does not say how.")


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(value)
    return value
