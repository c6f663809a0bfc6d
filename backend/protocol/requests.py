"""What clients send, checked: anything may come in, only well-formed values go on."""

import re
import uuid
from dataclasses import dataclass
from typing import Any

from .errors import InvalidRequest

# A version 4 UUID in its usual spelling is what we and our page make; any
# other version is fine. The prefix is that of the consumer-group mode.
GROUP_ID_PREFIX = "Q-"
_QUESTION_ID = re.compile(r"(?:Q-)?[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_ENTRY_ID = re.compile(r"[0-9]{1,15}-[0-9]{1,15}")  # well below 64 bits, far above any real id
_USER_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")  # becomes a part of names in Redis
EVERYBODY = "USER1"  # whoever does not say who they are; the original's example user
# Control characters have no business in a prompt; white space does. Lone
# surrogates, which JSON can smuggle in, cannot be written as UTF-8.
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Ask:
    """A question as it was asked, and the id it is known by."""

    question_id: str
    topic: str
    question: str


@dataclass(frozen=True, slots=True)
class Resume:
    """A request to read an answer, from behind an entry or from its start."""

    question_id: str
    after: str | None


def new_question_id(prefix: str = "") -> str:
    """An id that cannot be guessed: knowing it is the right to read the answer."""
    return f"{prefix}{uuid.uuid4()}"


def parse_ask(
    payload: Any,
    *,
    max_topic_chars: int,
    max_question_chars: int,
    id_prefix: str = "",
) -> Ask:
    """Read `{topic, topicQuestion, questionId?}`; raises InvalidRequest saying what is wrong.

    `id_prefix` begins the id of a question for which the client has chosen none.
    """
    body = _object(payload)
    chosen = body.get("questionId") is not None
    return Ask(
        question_id=_question_id(body) if chosen else new_question_id(id_prefix),
        topic=_text(body, "topic", max_topic_chars),
        question=_text(body, "topicQuestion", max_question_chars),
    )


def parse_resume(payload: Any) -> Resume:
    """Read `{questionId, after?}`; raises InvalidRequest saying what is wrong."""
    body = _object(payload)
    after = body.get("after")
    if after is not None and not (isinstance(after, str) and _ENTRY_ID.fullmatch(after)):
        raise InvalidRequest("after has to be the id of an entry.")
    return Resume(_question_id(body), after)


def parse_stop(payload: Any) -> str:
    """Read `{questionId}`; raises InvalidRequest saying what is wrong."""
    return _question_id(_object(payload))


def is_question_id(value: object) -> bool:
    """Whether this can be the id of a question, and a part of a key in Redis."""
    return isinstance(value, str) and bool(_QUESTION_ID.fullmatch(value))


def parse_user(auth: Any) -> str:
    """The user whom a handshake's `auth` names, not verified; EVERYBODY where it names none."""
    user_id = auth.get("userId") if isinstance(auth, dict) else None
    valid = isinstance(user_id, str) and _USER_ID.fullmatch(user_id)
    return str(user_id) if valid else EVERYBODY


def refused_id(payload: Any) -> str:
    """The id under which a refused question is labelled: the client's own, if it is one."""
    try:
        return _question_id(_object(payload))
    except InvalidRequest:
        return new_question_id()


def _object(payload: Any) -> dict[str, Any]:
    if not isinstance(payload, dict):
        raise InvalidRequest("An object with topic and topicQuestion is expected.")
    return payload


def _question_id(body: dict[str, Any]) -> str:
    value = body.get("questionId")
    if not is_question_id(value):
        raise InvalidRequest("questionId has to be a UUID.")
    return str(value)


def _text(body: dict[str, Any], name: str, limit_chars: int) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise InvalidRequest(f"{name} has to be a text.")
    if not value.strip():
        raise InvalidRequest(f"{name} must not be empty.")
    if len(value) > limit_chars:
        raise InvalidRequest(f"{name} is too long: at most {limit_chars} characters.")
    if _FORBIDDEN.search(value):
        raise InvalidRequest(f"{name} contains characters that are not text.")
    return value
