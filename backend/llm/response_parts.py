"""Makes the SDK's types out of what the Responses API sends, with whatever fields it has."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import openai
import pydantic
from openai.types import responses
from openai.types.responses import Response

from .event_parts import Event, token_counts

TEXT = "response.output_text.delta"
SUMMARY = "response.reasoning_summary_text.delta"
THOUGHT = "response.reasoning_text.delta"  # of open models; LangChain leaves it out
REFUSAL = "response.refusal.delta"  # LangChain waits for the whole refusal
REFUSED = "response.refusal.done"
ENDS: dict[str, type[openai.BaseModel]] = {
    "response.completed": responses.ResponseCompletedEvent,
    "response.incomplete": responses.ResponseIncompleteEvent,
}
DELTAS: dict[str, type[openai.BaseModel]] = {
    TEXT: responses.ResponseTextDeltaEvent,
    SUMMARY: responses.ResponseReasoningSummaryTextDeltaEvent,
}

# What LangChain puts into a message's metadata, as it is.
_METADATA = ("created_at", "metadata", "model", "object", "user")


class TokenUsage(pydantic.BaseModel, extra="allow"):
    """Whatever counts a provider tells; the SDK's own type would have to have them all."""


def regular_delta(event: Event) -> Event | None:
    """A delta of text or thought with all its fields; None where it has no text."""
    text = event.get("delta")
    if not isinstance(text, str) or not text:
        return None
    is_thought = event["type"] in (SUMMARY, THOUGHT)
    kind, index = (SUMMARY, "summary_index") if is_thought else (TEXT, "content_index")
    place = event.get("content_index" if event["type"] == THOUGHT else index)
    output_index = _number(event.get("output_index"), 0 if is_thought else 1)
    return {
        "type": kind,
        "item_id": string(event.get("item_id")) or f"item_{output_index}",
        "output_index": output_index,
        index: _number(place, 0),
        "delta": text,
        "logprobs": [],
        "sequence_number": 0,
    }


def join_deltas(events: Iterable[Event]) -> Iterator[Event]:
    """The same events as the SDK's types, with deltas of the same part joined to one."""
    for place, run in itertools.groupby(events, _place):
        if place is None:
            yield from run
        else:
            first, *others = run
            text = "".join([first["delta"], *(other["delta"] for other in others)])
            yield DELTAS[first["type"]].model_validate({**first, "delta": text})


def _place(event: Event) -> Any:
    if isinstance(event, dict):
        return tuple(value for name, value in event.items() if name not in ("delta", "logprobs"))
    return None


def parts_of(response: Event) -> Iterator[Event]:
    """The texts and refusals in a whole response, as the events that would have brought them."""
    for place, item in enumerate(_list(response.get("output"))):
        for index, part in enumerate(_list(mapping(item).get("content"))):
            match part:
                case {"type": "output_text", "text": str(text)}:
                    told = {"type": TEXT, "delta": text}
                case {"type": "refusal", "refusal": str(text)}:
                    told = {"type": REFUSED, "refusal": text}
                case _:
                    continue
            item_id = string(item.get("id"))
            yield {**told, "item_id": item_id, "output_index": place, "content_index": index}


def last_event(kind: str, response: Event) -> Event:
    """The event at the end of an answer, with all that LangChain reads of it, and no more."""
    told = {name: value for name in _METADATA if (value := response.get(name)) is not None}
    last = Response.model_construct(
        **told,
        id=string(response.get("id")) or None,
        status=string(response.get("status")) or kind.removeprefix("response."),
        incomplete_details=mapping(response.get("incomplete_details")) or None,
        service_tier=string(response.get("service_tier")) or None,
        output=[],  # has come already
        error=None,
    )
    if counts := token_counts(response.get("usage")):
        last.usage = TokenUsage.model_validate(counts)  # type: ignore[assignment]
    return ENDS[kind].model_construct(type=kind, response=last)


def mapping(value: Any) -> Event:
    """The value if it is an object of JSON, else an empty one."""
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def string(value: Any) -> str:
    """The value if it is a text, else an empty one."""
    return value if isinstance(value, str) else ""


def _number(value: Any, default: int) -> int:
    return value if type(value) is int else default
