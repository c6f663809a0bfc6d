"""The wire vocabulary: labels, entries of the stream, and the chunks that clients get. Pure."""

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


class UsagePayload(TypedDict):
    """Tokens of an answer as clients receive them; what the provider did not tell is absent."""

    inputTokens: NotRequired[int]
    outputTokens: NotRequired[int]
    reasoningTokens: NotRequired[int]


MAX_TOKENS = 2**53  # JavaScript's largest whole number; beyond it, it is somebody's joke


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that an answer took, as its provider told them; None is unknown.

    `reasoning_tokens` are a part of `output_tokens`.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None

    def __bool__(self) -> bool:
        """Whether anything is known."""
        return (self.input_tokens, self.output_tokens, self.reasoning_tokens) != (None, None, None)

    @property
    def payload(self) -> UsagePayload:
        """What is sent to clients and stored."""
        payload: UsagePayload = {}
        if self.input_tokens is not None:
            payload["inputTokens"] = self.input_tokens
        if self.output_tokens is not None:
            payload["outputTokens"] = self.output_tokens
        if self.reasoning_tokens is not None:
            payload["reasoningTokens"] = self.reasoning_tokens
        return payload

    @classmethod
    def parse(cls, value: Any) -> "Usage | None":
        """Read a payload back, whatever it is; None where it tells nothing."""
        if not isinstance(value, Mapping):
            return None
        names = ("inputTokens", "outputTokens", "reasoningTokens")
        return cls(*(_token_count(value.get(name)) for name in names)) or None


def _token_count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= MAX_TOKENS else None


@dataclass(frozen=True, slots=True)
class Ending:
    """How an answer ended, and what it took: `model` is the name that the provider gave."""

    status: FinalStatus
    error: ErrorPayload | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    model: str | None = None

    @classmethod
    def failed(cls, error: AppError) -> "Ending":
        """The end of an answer that could not be completed."""
        return cls("failed", error.payload)


class ChunkMeta(TypedDict):
    """Second argument of a `chunk` event; pages that know only the text ignore it."""

    questionId: str
    id: NotRequired[str]
    attempt: int
    number: NotRequired[int]
    status: NotRequired[FinalStatus]
    error: NotRequired[ErrorPayload]
    finishReason: NotRequired[str]
    usage: NotRequired[UsagePayload]
    model: NotRequired[str]
    reasoning: NotRequired[str]
    notice: NotRequired[bool]
    redelivered: NotRequired[bool]


Chunk = tuple[str, ChunkMeta]


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the stream: a label, or a piece of an answer.

    `number` counts the entries of one attempt from 0, the START. `ending` is
    there on the END alone; the text decides nothing, so an answer may contain
    whatever looks like a label. `id` is empty until Redis has given one. What a
    model thinks is no part of the answer: it is the `reasoning` of entries without text.
    """

    question_id: str
    text: str
    attempt: int
    number: int
    ending: Ending | None = None
    id: str = ""
    reasoning: str = ""

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
        """Whether this entry carries text or thought of the model."""
        return self.number > 0 and self.ending is None

    def fields(self) -> dict[str, str]:
        """The fields of this entry in Redis; the first two are the original's."""
        fields = {
            "questionId": self.question_id,
            "chunkOutput": self.text,
            "attempt": str(self.attempt),
            "number": str(self.number),
        }
        if self.reasoning:
            fields["reasoning"] = self.reasoning
        if self.ending:
            fields |= _ending_fields(self.ending)
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
                reasoning=fields.get("reasoning", ""),
            )
        except (KeyError, ValueError, TypeError, RecursionError):
            return None

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
        if self.reasoning:
            meta["reasoning"] = self.reasoning
        if self.ending:
            meta = {**meta, **_ending_meta(self.ending)}
        return self.text, meta


class EndingMeta(TypedDict):
    """What the END adds to the meta of its chunk."""

    status: FinalStatus
    error: NotRequired[ErrorPayload]
    finishReason: NotRequired[str]
    usage: NotRequired[UsagePayload]
    model: NotRequired[str]


def _ending_meta(ending: Ending) -> EndingMeta:
    meta: EndingMeta = {"status": ending.status}
    if ending.error:
        meta["error"] = ending.error
    if ending.finish_reason:
        meta["finishReason"] = ending.finish_reason
    if ending.usage:
        meta["usage"] = ending.usage.payload
    if ending.model:
        meta["model"] = ending.model
    return meta


def _ending_fields(ending: Ending) -> dict[str, str]:
    """The same as fields of the entry in Redis."""
    meta = _ending_meta(ending)
    fields = {
        name: value if isinstance(value, str) else json.dumps(value) for name, value in meta.items()
    }
    # A provider's words: anything, perhaps not even text that UTF-8 can hold.
    return {name: value.encode(errors="replace").decode() for name, value in fields.items()}


def _parse_ending(fields: Mapping[str, str]) -> Ending:
    status = fields["status"]
    if not is_final(status):
        raise ValueError(status)
    error = json.loads(fields["error"]) if "error" in fields else None
    usage = json.loads(fields["usage"]) if "usage" in fields else None
    reason, model = fields.get("finishReason"), fields.get("model")
    if not isinstance(reason, str | None) or not isinstance(model, str | None):
        raise TypeError("ending")
    return Ending(status, parse_error(error), reason, Usage.parse(usage), model)


def parse_error(value: Any) -> ErrorPayload | None:
    """Read a stored error; None where there is none. Raises KeyError or TypeError."""
    if value is None:
        return None
    error: ErrorPayload = {
        "code": str(value["code"]),
        "message": str(value["message"]),
        "retryable": bool(value["retryable"]),
    }
    if type(after_s := value.get("retryAfterS")) is int and after_s >= 0:
        error["retryAfterS"] = after_s
    return error


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
