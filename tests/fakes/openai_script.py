"""What the fake model says, and how it misbehaves: pure functions of the question.

The faults, where N and K are numbers and N counts pieces of the answer:

401, 429, 429:insufficient_quota, 500   refused with an error shaped as OpenAI's
html                        200 with a page, as a captive portal answers
stall_before_first          nothing comes, not even headers
stall_after:N               then silence (N may be 0: headers and the role came)
cut_after:N                 then the TCP connection is gone
clean_eof_after:N           then the body ends properly, with no finish_reason, no [DONE]
error_event_after:N         then an error event inside the stream
garbage_json_after:N        then an event that is not JSON
empty_deltas                the whole answer, an empty delta before and after each piece
keepalive_comments_only     comments at every interval, for ever
finish:length, finish:content_filter    the whole answer with this finish_reason
refusal                     the words come as a refusal, not as content
tool_call                   after the words, a tool is called, with its arguments in two pieces
fail_times:K                500 for the first K requests with this question
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import re
from dataclasses import dataclass
from typing import Any

# What surrounds the tag of piece i, in turn. Some graphemes fall into two pieces
# on purpose (a letter and its accent, two halves of an emoji): only a program
# that leaves the pieces alone gets them through.
_TRIMMINGS = (
    ("", " "),
    ("漢字かな ", " "),
    ("", " caf\N{LATIN SMALL LETTER E}"),
    ("\N{COMBINING ACUTE ACCENT} ", "\n"),
    ("{topic} ", " {{}} "),
    ("", " 👩\N{ZERO WIDTH JOINER}"),
    ("👧 🦊 ", "<br/>"),
    ("**bold** `", "`\n\n"),
    ("\\n \"quoted\" 'it' ", "\t"),
    ("data: &amp; <b>", "</b>\r\n"),
    ("%s \N{LINE SEPARATOR}", " \N{NO-BREAK SPACE}"),
    ("العربية ", " ؟ "),
)
_TAG = re.compile(r"q([0-9a-f]{8})\.\d+")

_DIRECTIVES = re.compile(r"\[\[\s*(\w+=\S+?(?:\s+\w+=\S+?)*)\s*\]\]")
_NUMBERS = {"tokens", "times", "hold", "think"}
_MILLISECONDS = {"interval_ms": "interval_s", "first_delay_ms": "first_delay_s"}

_PLAIN_FAULTS = {
    "401",
    "429",
    "429:insufficient_quota",
    "500",
    "html",
    "stall_before_first",
    "empty_deltas",
    "keepalive_comments_only",
    "finish:length",
    "finish:content_filter",
    "refusal",
    "tool_call",
}
COUNTED_FAULTS = {
    "stall_after",
    "cut_after",
    "clean_eof_after",
    "error_event_after",
    "garbage_json_after",
    "fail_times",
}


@dataclass(frozen=True, slots=True)
class Script:
    """How one question is answered; `fault` is one that the module's docstring lists.

    `first_delay_s` passes before the headers, as it does where a model thinks.
    `fail_times:K` and `times=K` (with any fault) spoil the first K requests that
    carry this question; the ones after that are answered in full. After `hold`
    pieces an answer waits until the endpoint is told to let it go on. Before its first
    piece it thinks aloud, in `think` events.
    """

    tokens: int = 20
    interval_s: float = 0.0
    first_delay_s: float = 0.0
    fault: str = ""
    times: int | None = None
    hold: int | None = None
    think: int = 0

    def __post_init__(self) -> None:
        name, _, count = self.fault.partition(":")
        counted = name in COUNTED_FAULTS and count.isdecimal()
        if self.fault and self.fault not in _PLAIN_FAULTS and not counted:
            raise ValueError(f"unknown fault {self.fault!r}")

    def directed_by(self, question: str) -> Script:
        """A copy with what `[[tokens=200 interval_ms=5 fault=cut_after:10]]` changes."""
        changes: dict[str, Any] = {}
        for match in _DIRECTIVES.finditer(question):
            for word in match[1].split():
                key, _, value = word.partition("=")
                changes |= _directive(key, value)
        return dataclasses.replace(self, **changes)

    def for_request(self, number: int) -> Script:
        """The script of the request with this number (from 1) that carries the question."""
        name, _, count = self.fault.partition(":")
        times = int(count) if name == "fail_times" else self.times
        if times is not None and number > times:
            return dataclasses.replace(self, fault="")
        return dataclasses.replace(self, fault="500") if name == "fail_times" else self


def _directive(key: str, value: str) -> dict[str, Any]:
    if key in _NUMBERS:
        return {key: int(value)}
    if key in _MILLISECONDS:
        return {_MILLISECONDS[key]: float(value) / 1000}
    if key == "fault":
        return {"fault": value}
    raise ValueError(f"unknown directive {key!r}")


def tag_of(question: str) -> str:
    """Eight hex digits that stand in every piece of the answer to this question."""
    return hashlib.sha256(question.strip().encode()).hexdigest()[:8]


def answer_pieces(question: str, tokens: int) -> list[str]:
    """The pieces of the answer, in order; blanks around the question do not count."""
    tag = tag_of(question)
    trimmings = itertools.cycle(_TRIMMINGS)
    return [
        f"{before}q{tag}.{number}{after}"
        for number, (before, after) in zip(range(tokens), trimmings, strict=False)
    ]


def thought_pieces(question: str, count: int) -> list[str]:
    """What is thought before the answer to this question, in order."""
    tag = tag_of(question)
    return [f"hm {tag}:{number}\n" for number in range(count)]


def expected_answer(question: str, tokens: int) -> str:
    """The whole answer to this question, the same on every machine."""
    return "".join(answer_pieces(question, tokens))


def piece_count(text: str) -> int:
    """How many pieces there are in this text."""
    return len(_TAG.findall(text))


def foreign_pieces(question: str, text: str) -> int:
    """How many pieces in this text belong to the answer of another question."""
    tag = tag_of(question)
    return sum(1 for match in _TAG.finditer(text) if match[1] != tag)
