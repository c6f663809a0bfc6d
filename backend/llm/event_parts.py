"""What the events of both of OpenAI's APIs have in common: JSON, errors, token counts, an end."""

import json
from typing import Any

import httpx2
import openai

DONE = b"[DONE]"
KEEP_ALIVE = frozenset({"heartbeat", "keep-alive", "keepalive", "ping"})  # types of such events
UNNAMED_ERROR = "An error occurred during streaming"  # the SDK's own words

Event = Any  # JSON, of whatever shape the provider gives it


class Incomplete(openai.APIConnectionError):
    """The body of a stream has ended, and the answer in it had not."""

    def __init__(self, request: httpx2.Request) -> None:
        super().__init__(message="The stream ended before the answer did.", request=request)


def json_of(kind: str, data: bytes) -> Event:
    """The value of an event, None where it has none.

    An event of the type `error` has one under this name, whatever its data is. Raises
    ValueError where the data of another is no JSON.
    """
    text = str(data, "utf-8", "replace")
    if kind == "error":
        return {"error": _error_value(text)}
    if kind in KEEP_ALIVE or not data or data.isspace():
        return None
    return json.loads(text)


def _error_value(text: str) -> Event:
    try:
        value = json.loads(text)
    except ValueError:
        return text or UNNAMED_ERROR
    nested = value.get("error") if isinstance(value, dict) else None
    return nested or value or UNNAMED_ERROR


def api_error(error: Any, request: httpx2.Request) -> openai.APIError:
    """An error that came as an event, in the form in which the SDK raises it."""
    message = error.get("message") if isinstance(error, dict) else error
    if not isinstance(message, str) or not message:
        message = UNNAMED_ERROR
    return openai.APIError(message, request, body=error)


def token_counts(usage: Any) -> dict[str, Any]:
    """What is a count in a provider's usage, in its details as well; else empty."""
    if not isinstance(usage, dict):
        return {}
    counts: dict[str, Any] = {**_counts(usage)}
    for name, value in usage.items():
        if name.endswith("_details") and isinstance(value, dict) and (details := _counts(value)):
            counts[name] = details
    return counts


def _counts(values: dict[str, Any]) -> dict[str, int]:
    return {name: value for name, value in values.items() if type(value) is int and value >= 0}
