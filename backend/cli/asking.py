"""`ask`: one question to a server, from a terminal or a script."""

import asyncio
import json
import os
import sys
from argparse import Namespace

from ..protocol.errors import ErrorPayload
from ..protocol.requests import Ask, new_question_id
from ..settings import SettingsError
from .client.address import BackendAddress
from .client.connection import take_long_polls
from .client.conversation import Conversation
from .client.outcome import Outcome
from .client.post import Posting
from .console import (
    FAILED,
    OK,
    REFUSED,
    RESTARTED,
    STOPPED,
    TIMED_OUT,
    UNREACHABLE,
    complain,
    remark,
    say,
)
from .interrupts import interrupts
from .screen import Screen

MAX_STDIN_CHARS = 100_000  # twice what a server may be set to take

EXIT_CODES = {
    "done": OK,
    "failed": FAILED,
    "refused": REFUSED,
    "unreachable": UNREACHABLE,
    "timeout": TIMED_OUT,
    "stopped": STOPPED,
}
ODD_ENDINGS = {
    "length": "The answer is cut off: it reached the model's limit.",
    "content_filter": "The answer is cut off by the provider's content filter.",
    "refusal": "The model refused.",
    "tool_calls": "The model wanted to call a tool, and has none here.",
}


def ask(options: Namespace) -> int:
    """Ask, print the answer, and return the exit code that says how it went."""
    backend = _backend(options)
    question = Ask(new_question_id(), options.topic, _question(options.question))
    screen = Screen(silent=options.json, reasoning=options.reasoning)
    take_long_polls()
    outcome = asyncio.run(_ask(backend, question, screen, options))
    if options.json:
        say(json.dumps(_as_json(outcome)))
    screen.end()
    return _explain(outcome, has_void_text=screen.has_void_text)


async def _ask(
    backend: BackendAddress, question: Ask, screen: Screen, options: Namespace
) -> Outcome:
    if options.no_stream:
        posting = Posting(backend, question)
        with interrupts(posting.stop):
            outcome = await posting.run(options.timeout)
        await screen.piece(outcome.text)
        return outcome
    conversation = Conversation(backend, question, screen)
    with interrupts(conversation.stop):
        return await conversation.run(options.timeout)


def _backend(options: Namespace) -> BackendAddress:
    url = options.url or os.environ.get("BACKEND_URL") or "http://127.0.0.1:3000"
    token = options.token or os.environ.get("BACKEND_TOKEN") or ""
    try:
        return BackendAddress(url.rstrip("/"), token)
    except ValueError as exc:
        raise SettingsError(str(exc)) from None


def _question(typed: str) -> str:
    """The question, from standard input where it is `-`."""
    if typed != "-":
        return typed
    text = sys.stdin.read(MAX_STDIN_CHARS + 1)
    if len(text) > MAX_STDIN_CHARS:
        raise SettingsError(f"the question on standard input is over {MAX_STDIN_CHARS} characters")
    return text.rstrip("\n")


def _explain(outcome: Outcome, *, has_void_text: bool) -> int:
    """Say on standard error what the text alone does not; returns the exit code."""
    if outcome.error:
        complain(_describe(outcome.error, outcome.question_id))
    elif outcome.status == "stopped":
        remark("Stopped.")
    if ending := ODD_ENDINGS.get(outcome.finish_reason or ""):
        remark(ending)
    if outcome.status == "done" and has_void_text:
        complain("the answer stands behind the text of an attempt that broke off")
        return RESTARTED
    return EXIT_CODES[outcome.status]


def _describe(error: ErrorPayload, question_id: str) -> str:
    after_s = error.get("retryAfterS")
    again = f"; try again in {after_s} s" if after_s else ""
    return f"{error['message']} ({error['code']}, {question_id}{again})"


def _as_json(outcome: Outcome) -> dict[str, object]:
    return {
        "questionId": outcome.question_id,
        "status": outcome.status,
        "text": outcome.text,
        "reasoning": outcome.reasoning,
        "error": outcome.error,
        "finishReason": outcome.finish_reason,
        "usage": outcome.usage.payload if outcome.usage else None,
        "model": outcome.model,
        "attempt": outcome.attempt,
        "firstPieceMs": _ms(outcome.first_piece_s),
        "totalMs": _ms(outcome.total_s),
    }


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)
