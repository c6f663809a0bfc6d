"""The wire vocabulary: labels, entries of the stream, and the chunks that clients get. Pure."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict, TypeGuard

from .errors import AppError, ErrorPayload

Status = Literal["queued", "running", "done", "stopped", "failed"]
FinalStatus = Literal["done", "stopped", "failed"]
FINAL_STATUSES: tuple[FinalStatus, ...] = ("done", "stopped", "failed")

BEGINNING = "0-0"  # lower than every entry id that Redis generates


def is_final(status: str | None) -> TypeGuard[FinalStatus]:
    """Whether a question with this status has ended."""
    return status in FINAL_STATUSES


def start_label(question_id: str) -> str:
    """The text that opens every answer on the wire."""
    return f"START:{question_id};<br/>"


def end_label(question_id: str) -> str:
    """The text that closes every answer on the wire."""
    return f"<br/>;END:{question_id}"


def entry_order(entry_id: str) -> tuple[int, int]:
    """Sort key of a Redis entry id, which is `<ms>-<sequence>`, both 64 bits wide."""
    ms, _, sequence = entry_id.partition("-")
    return int(ms), int(sequence or 0)


@dataclass(frozen=True, slots=True)
class Ending:
    """How an answer ended."""

    status: FinalStatus
    error: ErrorPayload | None = None
    finish_reason: str | None = None

    @classmethod
    def failed(cls, error: AppError) -> "Ending":
        """The end of an answer that could not be completed."""
        return cls("failed", error.payload)


@dataclass(frozen=True, slots=True)
class Finish:
    """What a model says last: why it stopped, in its provider's word: `stop`, `length`, ...

    The tokens are 0 where the provider does not tell.
    """

    reason: str
    input_tokens: int = 0
    output_tokens: int = 0


class ChunkMeta(TypedDict):
    """Second argument of a `chunk` event; pages that know only the text ignore it."""

    questionId: str
    id: NotRequired[str]
    attempt: int
    number: NotRequired[int]
    status: NotRequired[FinalStatus]
    error: NotRequired[ErrorPayload]
    finishReason: NotRequired[str]
    notice: NotRequired[bool]
    redelivered: NotRequired[bool]


Chunk = tuple[str, ChunkMeta]


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the stream: a label, or a piece of an answer.

    `number` counts the entries of one attempt from 0, the START. `ending` is
    there on the END alone; the text decides nothing, so an answer may contain
    whatever looks like a label. `id` is empty until Redis has given one.
    """

    question_id: str
    text: str
    attempt: int
    number: int
    ending: Ending | None = None
    id: str = ""

    @classmethod
    def start(cls, question_id: str, attempt: int) -> "Entry":
        """The entry that opens an attempt."""
        return cls(question_id, start_label(question_id), attempt, 0)

    @classmethod
    def end(cls, question_id: str, attempt: int, number: int, ending: Ending) -> "Entry":
        """The entry that closes an attempt."""
        return cls(question_id, end_label(question_id), attempt, number, ending)

    @property
    def is_start(self) -> bool:
        """Whether this entry opens its attempt."""
        return self.number == 0

    @property
    def is_piece(self) -> bool:
        """Whether this entry carries words of the model."""
        return self.number > 0 and self.ending is None

    def fields(self) -> dict[str, str]:
        """The fields of this entry in Redis; the first two are the original's."""
        fields = {
            "questionId": self.question_id,
            "chunkOutput": self.text,
            "attempt": str(self.attempt),
            "number": str(self.number),
        }
        if self.ending:
            fields["status"] = self.ending.status
            if self.ending.error:
                fields["error"] = json.dumps(self.ending.error)
            if self.ending.finish_reason:
                # A provider's word: anything, perhaps not even text that UTF-8 can hold.
                reason = str(self.ending.finish_reason)
                fields["finishReason"] = reason.encode(errors="replace").decode()
        return fields

    @classmethod
    def parse(cls, entry_id: str, fields: Mapping[str, str]) -> "Entry | None":
        """Read an entry back; None where it is not one of ours, whatever it is."""
        try:
            return cls(
                question_id=fields["questionId"],
                text=fields["chunkOutput"],
                attempt=int(fields["attempt"]),
                number=int(fields["number"]),
                ending=_parse_ending(fields) if "status" in fields else None,
                id=entry_id,
            )
        except (KeyError, ValueError, TypeError, RecursionError):
            return None

    def row(self) -> list[Any]:
        """The short form of this entry, for a page of the archive."""
        row: list[Any] = [self.id, self.attempt, self.number, self.text]
        if self.ending:
            row.append(dataclasses.asdict(self.ending))
        return row

    @classmethod
    def from_row(cls, question_id: str, row: list[Any]) -> "Entry":
        """Read an entry of a page back; raises ValueError, TypeError or KeyError."""
        entry_id, attempt, number, text, *rest = row
        if [*map(type, (entry_id, attempt, number, text))] != [str, int, int, str]:
            raise TypeError("row")
        entry_order(entry_id)
        ending = _stored_ending(rest[0]) if rest else None
        return cls(question_id, text, attempt, number, ending, entry_id)

    def chunk(self, *, redelivered: bool = False) -> Chunk:
        """The arguments of the `chunk` event for this entry."""
        meta: ChunkMeta = {
            "questionId": self.question_id,
            "id": self.id,
            "attempt": self.attempt,
            "number": self.number,
        }
        if redelivered:
            meta["redelivered"] = True
        if self.ending:
            meta["status"] = self.ending.status
            if self.ending.error:
                meta["error"] = self.ending.error
            if self.ending.finish_reason:
                meta["finishReason"] = self.ending.finish_reason
        return self.text, meta


def _stored_ending(stored: dict[str, Any]) -> Ending:
    ending = Ending(**stored)
    if not is_final(ending.status) or not isinstance(ending.finish_reason, str | None):
        raise ValueError("ending")
    return dataclasses.replace(ending, error=parse_error(ending.error))


def _parse_ending(fields: Mapping[str, str]) -> Ending:
    status = fields["status"]
    if not is_final(status):
        raise ValueError(status)
    error = json.loads(fields["error"]) if "error" in fields else None
    return Ending(status, parse_error(error), fields.get("finishReason"))


def parse_error(value: Any) -> ErrorPayload | None:
    """Read a stored error; None where there is none. Raises KeyError or TypeError."""
    if value is None:
        return None
    return {
        "code": str(value["code"]),
        "message": str(value["message"]),
        "retryable": bool(value["retryable"]),
    }


def notice(question_id: str, attempt: int, error: ErrorPayload) -> Chunk:
    """One readable line about a failure, for pages that show nothing but text."""
    return error["message"], {"questionId": question_id, "attempt": attempt, "notice": True}


def failure(question_id: str, attempt: int, error: ErrorPayload) -> list[Chunk]:
    """The end of an answer that a reader cannot go on with; it stands in no stream."""
    end: ChunkMeta = {
        "questionId": question_id,
        "attempt": attempt,
        "status": "failed",
        "error": error,
    }
    return [notice(question_id, attempt, error), (end_label(question_id), end)]


def refusal(question_id: str, error: ErrorPayload) -> list[Chunk]:
    """A whole answer for a question that was refused; its attempt is 0, before the first."""
    start = Entry.start(question_id, 0)
    meta: ChunkMeta = {"questionId": question_id, "attempt": 0, "number": 0}
    return [(start.text, meta), *failure(question_id, 0, error)]
