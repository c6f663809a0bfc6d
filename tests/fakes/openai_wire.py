"""The fake model's words as bytes: events, bodies and errors, shaped as OpenAI's."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

# Stands in every error this endpoint sends. A test that finds it in what a
# browser received, or in a log, has found a leak.
LEAK_MARKER = "sk-words-of-the-provider"


class Events:
    """The server-sent events of one answer, shaped as OpenAI's."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._usage = bool((body.get("stream_options") or {}).get("include_usage"))
        self._base: dict[str, Any] = {
            "id": f"chatcmpl-{time.monotonic_ns():x}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": body.get("model", "fake"),
            "service_tier": "default",
            "system_fingerprint": "fp_fake",
        }
        self.role = self._event({"role": "assistant", "content": "", "refusal": None})
        # All that differs between two pieces is one string: the rest is encoded once.
        head, tail = self._event({"content": "\0"}).split(b'"\\u0000"')
        self._head, self._tail = head, tail
        self._empty = head + b'""' + tail

    def piece(self, text: str) -> bytes:
        """The event of one piece of the answer."""
        return b"%b%b%b" % (self._head, json.dumps(text, ensure_ascii=False).encode(), self._tail)

    def between_empty_deltas(self, text: str) -> bytes:
        """The same, with an event that says nothing before and after it."""
        return self._empty + self.piece(text) + self._empty

    def refused_piece(self, text: str) -> bytes:
        """The event of one piece of a refusal."""
        return self._event({"refusal": text})

    def thought(self, text: str) -> bytes:
        """The event of one piece of thought, as servers other than OpenAI's send it."""
        return self._event({"reasoning_content": text})

    def tool_call(self) -> bytes:
        """The events of one call of a tool, whose arguments fall into two pieces."""
        called = {"name": "look_up", "arguments": ""}
        head = {"index": 0, "id": "call_1", "type": "function", "function": called}
        tail = [{"index": 0, "function": {"arguments": part}} for part in ('{"word": ', '"sea"}')]
        return b"".join(self._event({"tool_calls": [part]}) for part in (head, *tail))

    def finish(self, reason: str, tokens: int) -> bytes:
        """The finish reason, the usage where it was asked for, and [DONE]."""
        events = self._event({}, reason)
        if self._usage:
            events += _data({**self._base, "choices": [], "usage": _usage(tokens)})
        return events + b"data: [DONE]\n\n"

    def _event(self, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        usage = {"usage": None} if self._usage else {}
        return _data({**self._base, "choices": [choice], **usage})


def _data(value: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % json.dumps(value, ensure_ascii=False).encode()


def last_events(wire: Events, fault: str, argument: str, sent: int) -> bytes:
    """What follows the pieces before the body ends: mostly the finish."""
    match fault:
        case "clean_eof_after":
            return b""
        case "error_event_after":
            return _data(_error_body("server_error", None, "The model broke off."))
        case "garbage_json_after":
            return b'data: {"id": "chatcmpl-\n\n'
        case "finish":
            return wire.finish(argument, sent)
        case "tool_call":
            return wire.tool_call() + wire.finish("tool_calls", sent)
        case _:
            return wire.finish("stop", sent)


def _usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": 10, "completion_tokens": tokens, "total_tokens": 10 + tokens}


def completion(
    body: Mapping[str, Any], pieces: Sequence[str], finish_reason: str | None
) -> dict[str, Any]:
    """The answer to a request that does not stream."""
    message = {"role": "assistant", "content": "".join(pieces), "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
    return {
        "id": f"chatcmpl-{time.monotonic_ns():x}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body.get("model", "fake"),
        "choices": [choice],
        "usage": _usage(len(pieces)),
    }


def refusal(fault: str) -> web.Response | None:
    """The response to a request that this fault refuses; None where it refuses nothing."""
    match fault:
        case "401":
            return error(401, "invalid_request_error", "invalid_api_key", "Incorrect API key.")
        case "429":
            return error(429, "requests", "rate_limit_exceeded", "Rate limit reached.")
        case "429:insufficient_quota":
            return error(429, "insufficient_quota", "insufficient_quota", "Quota exceeded.")
        case "500":
            return error(500, "server_error", None, "The server had an error.")
        case "html":
            page = f"<!DOCTYPE html><title>Sign in</title><p>{LEAK_MARKER}</p>"
            return web.Response(text=page, content_type="text/html")
    return None


def error(status: int, kind: str, code: str | None, message: str) -> web.Response:
    """An error as OpenAI sends it, with the marker of a leak in its message."""
    # The SDK heeds this header: its retries cost a test milliseconds, not seconds.
    headers = {"retry-after-ms": "5"} if status in (429, 500) else {}
    return web.json_response(_error_body(kind, code, message), status=status, headers=headers)


def _error_body(kind: str, code: str | None, message: str) -> dict[str, Any]:
    text = f"{message} ({LEAK_MARKER})"
    return {"error": {"message": text, "type": kind, "param": None, "code": code}}


def question_in(body: Mapping[str, Any]) -> str:
    """The text of the last user message."""
    for message in reversed(body.get("messages", ())):
        if message.get("role") == "user":
            content = message.get("content") or ""
            parts = [content] if isinstance(content, str) else [p.get("text", "") for p in content]
            return "".join(parts).strip()
    raise ValueError("no user message")
