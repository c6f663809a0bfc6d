"""Makes the events of the Responses API such that LangChain can take them. No I/O.

LangChain reads the attributes of the SDK's types, ignores types of events that it does not know,
and fails where an attribute is missing. So deltas and the last event are made anew of what is
there; any other event has to be valid, or is left out.
"""

from collections.abc import Iterable, Iterator

import httpx2
import openai
from openai.types import responses
from openai.types.responses import Response
from pydantic import ValidationError

from .event_parts import DONE, Event, Incomplete, api_error, json_of
from .event_stream import ServerSentEvent
from .response_parts import (
    ENDS,
    REFUSAL,
    REFUSED,
    SUMMARY,
    TEXT,
    THOUGHT,
    join_deltas,
    last_event,
    mapping,
    parts_of,
    regular_delta,
    string,
)

CREATED = "response.created"
OTHERS: dict[str, type[openai.BaseModel]] = {
    "response.output_text.annotation.added": responses.ResponseOutputTextAnnotationAddedEvent,
    "response.output_text.done": responses.ResponseTextDoneEvent,
    "response.output_item.added": responses.ResponseOutputItemAddedEvent,
    "response.output_item.done": responses.ResponseOutputItemDoneEvent,
    "response.function_call_arguments.delta": responses.ResponseFunctionCallArgumentsDeltaEvent,
    "response.reasoning_summary_part.added": responses.ResponseReasoningSummaryPartAddedEvent,
    REFUSED: responses.ResponseRefusalDoneEvent,
}


class ResponseEvents:
    """The events of one answer. Methods and flags are those of ChatEvents."""

    def __init__(self, request: httpx2.Request) -> None:
        self.has_begun = self.is_whole = self.is_over = False
        self._request = request
        self._has_text = self._refuses = False

    def take(self, received: Iterable[ServerSentEvent]) -> Iterator[Event]:
        """Give what a read has brought, with neighbouring deltas joined."""
        events: list[Event] = []
        failure: Exception | None = None
        try:
            for kind, data in received:
                if data.startswith(DONE):  # of others than OpenAI
                    self.is_over = True
                    break
                event = json_of(kind, data)
                if isinstance(event, dict):
                    events.extend(self._made_regular(event))
        except (openai.APIError, ValueError) as exc:
            failure = exc
        yield from join_deltas(events)
        if failure:
            raise failure

    def take_document(self, document: bytes) -> Iterator[Event]:
        """Give what a whole response says that came as JSON, not as a stream.

        Raises ValueError where it is none.
        """
        response = json_of("", document)
        if not isinstance(response.get("output"), list) and not response.get("error"):
            raise ValueError("the JSON is no response")
        kind = f"response.{response.get('status') or 'completed'}"
        return join_deltas(self._made_regular({"type": kind, "response": response}))

    def end(self) -> Iterator[Event]:
        """Give nothing more; raises Incomplete where the answer had not ended."""
        if not self.is_whole:
            raise Incomplete(self._request)
        return iter(())

    def _made_regular(self, event: Event) -> Iterator[Event]:
        """The events in place of this one: dicts for deltas, which can be joined, else models."""
        kind, response = string(event.get("type")), mapping(event.get("response"))
        self._raise_error(event, response)
        if kind in (TEXT, SUMMARY, THOUGHT, REFUSAL):
            if delta := regular_delta(event):
                self.has_begun = True
                self._has_text = self._has_text or delta["type"] == TEXT
                self._refuses = self._refuses or kind == REFUSAL
                yield delta
        elif kind in ENDS and response:
            if not self._has_text:
                for part in parts_of(response):
                    yield from self._made_regular(part)
            self.is_whole = self.is_over = True
            yield last_event(kind, response)
        elif kind == CREATED and response:
            created = Response.model_construct(id=string(response.get("id")) or None)
            yield responses.ResponseCreatedEvent.model_construct(type=kind, response=created)
        elif kind in OTHERS:
            if kind == REFUSED and self._refuses:
                event = {**event, "refusal": ""}  # its text has gone by; what it was has not
            try:
                yield OTHERS[kind].model_validate({"sequence_number": 0, **event})
            except ValidationError:
                return

    def _raise_error(self, event: Event, response: Event) -> None:
        kind = event.get("type")
        error = event.get("error") or response.get("error")
        if kind == "error":
            error = error or event
        if error or kind == "response.failed" or response.get("status") == "failed":
            raise api_error(error, self._request)
