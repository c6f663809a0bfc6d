"""A question's record, the JSON under `questions:<id>`, and the ways it may change.

Pure. Six keys are those of the Node original; the others are ours. Who may
write an answer is decided here: the attempt number is the fencing token, and
it only ever grows.
"""

import dataclasses
import json
import re
import time
from dataclasses import dataclass
from typing import Any, get_args

from .entries import BEGINNING, Ending, Status, Usage, is_final, parse_error
from .errors import ErrorPayload, Expired
from .requests import EVERYBODY, Ask

MOST_ATTEMPTS = 2**63  # any more are somebody's joke
_CURSOR = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")

_JSON_NAMES = {
    "topic": "topic",
    "question": "topicQuestion",
    "question_id": "questionId",
    "user_id": "userId",
    "stream": "streamName",
    "start_id": "streamStartMessageId",
    "end_id": "streamEndMessageId",
    "status": "status",
    "attempt": "attempt",
    "lapses": "lapses",
    "released": "released",
    "owner": "owner",
    "job_token": "delivery",
    "stop": "stop",
    "cursor": "cursor",
    "asked_at_ms": "askedAt",
    "ended_at_ms": "endedAt",
    "error": "error",
    "finish_reason": "finishReason",
    "usage": "usage",
    "model": "model",
}


@dataclass(frozen=True, slots=True)
class Record:
    """What is known about a question, asked by `user_id`.

    `cursor` is an entry id that every entry of the answer comes after.
    `job_token` is that of the job that asks for the answer; a job with another
    one asks for nothing. `owner` is the token of the
    attempt that may write. `lapses` counts the attempts whose worker died; one
    that was handed over by a worker that shut down does not count. Times are
    Unix milliseconds.
    """

    topic: str
    question: str
    question_id: str
    stream: str
    start_id: str = ""
    end_id: str = ""
    status: Status = "queued"
    attempt: int = 0
    lapses: int = 0
    released: bool = False
    owner: str = ""
    job_token: str = ""
    stop: bool = False
    cursor: str = BEGINNING
    asked_at_ms: int = 0
    ended_at_ms: int = 0
    error: ErrorPayload | None = None
    finish_reason: str | None = None
    user_id: str = EVERYBODY
    usage: Usage | None = None
    model: str | None = None

    @classmethod
    def queued(
        cls, ask: Ask, stream: str, cursor: str, job_token: str, user_id: str = EVERYBODY
    ) -> "Record":
        """The record of a question that has just been asked."""
        return cls(
            ask.topic,
            ask.question,
            ask.question_id,
            stream,
            cursor=cursor,
            job_token=job_token,
            asked_at_ms=_now_ms(),
            user_id=user_id,
        )

    @property
    def ended(self) -> bool:
        """Whether the answer is closed."""
        return is_final(self.status)

    def asks(self, ask: Ask) -> bool:
        """Whether this is the record of that very question."""
        return (self.topic, self.question) == (ask.topic, ask.question)

    def begun(self, owner: str, job_token: str | None) -> "Record":
        """The next attempt, if this is written before anybody else's.

        `owner` is a token of this very attempt: seeing it again means that
        the attempt has begun already. An ended question stays as it is, and
        so does one that a queue entry repeats; None is no queue entry at all.
        """
        if self.ended or self.owner == owner or job_token not in (None, self.job_token):
            return self
        lapsed = self.status == "running" and not self.released
        return dataclasses.replace(
            self,
            status="running",
            attempt=self.attempt + 1,
            lapses=self.lapses + lapsed,
            released=False,
            owner=owner,
        )

    def handed_over(self, owner: str) -> "Record":
        """The owner's attempt, given up for another worker to begin anew."""
        if self.ended or self.owner != owner:
            return self
        return dataclasses.replace(self, released=True)

    def stopping(self) -> "Record":
        """The same question, marked so that whoever has it ends it."""
        if self.ended or self.stop:
            return self
        return dataclasses.replace(self, stop=True)

    def closed(self, owner: str, ending: Ending, start_id: str, end_id: str) -> "Record":
        """The question with its answer between these two entries, if it is still the owner's."""
        if self.ended or self.owner != owner:
            return self
        return dataclasses.replace(
            self,
            status=ending.status,
            error=ending.error,
            finish_reason=ending.finish_reason,
            usage=ending.usage,
            model=ending.model,
            start_id=start_id,
            end_id=end_id,
            ended_at_ms=_now_ms(),
        )

    def _check(self) -> None:
        """Raise TypeError or ValueError for a wrong value; what Redis holds may be anything."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type in (str, int, bool) and type(value) is not field.type:
                raise TypeError(field.name)
        if self.status not in get_args(Status):
            raise ValueError("status")
        if not isinstance(self.finish_reason, str | None) or not isinstance(self.model, str | None):
            raise TypeError("finish_reason, model")
        if not _CURSOR.fullmatch(self.cursor):  # Redis would refuse it, again and again
            raise ValueError("cursor")
        if not (0 <= self.attempt <= MOST_ATTEMPTS and 0 <= self.lapses <= MOST_ATTEMPTS):
            raise ValueError("attempt")

    def to_json(self) -> str:
        """The value of the key."""
        values = {name: getattr(self, attribute) for attribute, name in _JSON_NAMES.items()}
        values["usage"] = self.usage.payload if self.usage else None
        return json.dumps({name: value for name, value in values.items() if value is not None})

    @classmethod
    def from_json(cls, raw: str) -> "Record":
        """Read a value back; raises Expired where it is not a record of ours."""
        try:
            stored = json.loads(raw)
            values: dict[str, Any] = {
                attribute: stored[name] for attribute, name in _JSON_NAMES.items() if name in stored
            }
            values["error"] = parse_error(values.get("error"))
            values["usage"] = Usage.parse(values.get("usage"))
            record = cls(**values)
            record._check()
            return record
        except (ValueError, TypeError, KeyError, RecursionError) as exc:
            raise Expired from exc


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
