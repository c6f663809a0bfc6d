"""Makes the events of Chat Completions regular, whatever server has sent them. No I/O.

What goes on to LangChain has at most one choice, with a `delta` of the types that it takes.
Thought is in `delta["reasoning_content"]`, whatever the server calls it.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import httpx2
import openai

from .chat_delta import TEXT, THOUGHT, first_choice, regular_delta
from .event_parts import DONE, Event, Incomplete, api_error, json_of, token_counts
from .event_stream import ServerSentEvent

# What LangChain reads of an event, besides its choices and its usage.
_NAMES = ("id", "model", "service_tier", "system_fingerprint")


class ChatEvents:
    """The events of one answer.

    `has_begun` is true once text or thought has come, `is_whole` once the answer has told that
    it ends, and `is_over` once nothing follows.
    """

    def __init__(self, request: httpx2.Request) -> None:
        self.has_begun = self.is_whole = self.is_over = False
        self._request = request
        self._reason: str | None = None
        self._usage: dict[str, Any] = {}
        self._service_tier: str | None = None
        self._has_deltas = self._refuses = False

    def take(self, received: Iterable[ServerSentEvent]) -> Iterator[Event]:
        """Give what a read has brought, with neighbours that are nothing but text joined.

        What comes before a failure is given first. Raises openai.APIError where the provider
        tells an error, ValueError where something is no JSON.
        """
        events: list[Event] = []
        failure: Exception | None = None
        try:
            for kind, data in received:
                if data.startswith(DONE):
                    self.is_whole = self.is_over = True
                    break
                event = json_of(kind, data)
                if text_alone(event):  # nearly every event
                    self.has_begun = self._has_deltas = True
                    events.append(event)
                elif isinstance(event, dict):
                    events.append(self._made_regular(event))
        except (openai.APIError, ValueError) as exc:
            failure = exc
        yield from join_texts(events) if len(events) > 1 else events
        if failure:
            raise failure

    def take_document(self, document: bytes) -> Iterator[Event]:
        """Give what a whole answer says that came as JSON, not as a stream.

        Raises ValueError where it is no answer.
        """
        completion = json_of("", document)
        self._raise_error(completion, {})
        if not isinstance(completion.get("choices"), list):
            raise ValueError("the JSON is no completion")
        self.is_over = True
        yield self._made_regular(completion)
        self.is_whole = True

    def end(self) -> Iterator[Event]:
        """Give what was kept for the end; raises Incomplete where the answer had not ended."""
        if self._usage:
            tier = {"service_tier": self._service_tier} if self._service_tier else {}
            yield {"choices": [], "usage": self._usage, **tier}
        if not self.is_whole:
            raise Incomplete(self._request)

    def _made_regular(self, event: Event) -> Event:
        choice = first_choice(event)
        self._raise_error(event, choice or {})
        self._note_usage(event, choice or {})
        names = {name: value for name in _NAMES if isinstance(value := event.get(name), str)}
        if choice is None:
            return {**names, "choices": []}
        delta = self._delta(choice)
        regular = {"index": 0, "delta": delta, "finish_reason": self._new_reason(choice)}
        if isinstance(logprobs := choice.get("logprobs"), dict):
            regular["logprobs"] = logprobs
        self.has_begun = self.has_begun or bool(delta.get(TEXT) or delta.get(THOUGHT))
        return {**names, "choices": [regular]}

    def _delta(self, choice: Event) -> Event:
        delta, message = choice.get("delta"), choice.get("message")
        if delta and isinstance(delta, dict):
            regular = regular_delta(delta)
            self._has_deltas = self._has_deltas or bool(regular.get(TEXT))
        elif isinstance(message, dict) and not self._has_deltas:
            delta, regular = message, regular_delta(message)
        else:  # behind the pieces, some servers send the whole text once more
            return {}
        self._refuses = self._refuses or bool(delta.get("refusal"))
        return regular

    def _new_reason(self, choice: Event) -> str | None:
        """Why the answer ends, where this has not been told yet."""
        reason = choice.get("finish_reason")
        if not reason or self._reason:
            return None
        self.is_whole = True
        refuses = self._refuses and reason == "stop"
        self._reason = "refusal" if refuses else str(reason)
        return self._reason

    def _note_usage(self, event: Event, choice: Event) -> None:
        """Keep the token counts: in a stream they are running totals, and the last ones count."""
        for holder in (event.get("x_groq"), choice, event):
            if isinstance(holder, dict) and (counts := token_counts(holder.get("usage"))):
                self._usage = {**self._usage, **counts}
                tier = event.get("service_tier")
                self._service_tier = tier if isinstance(tier, str) else None

    def _raise_error(self, event: Event, choice: Event) -> None:
        error = event.get("error") or choice.get("error")
        if not error and event.get("object") == "error":  # older versions of vLLM
            error = event
        if error or choice.get("finish_reason") == "error":
            raise api_error(error, self._request)


def join_texts(events: Iterable[Event]) -> Iterator[Event]:
    """The same events, with neighbours that carry nothing but text, or thought, joined to one."""
    run: list[str] = []
    run_name = ""
    latest: Event = None
    for event in events:
        name, text = _said_alone(event)
        if run and name != run_name:
            yield _with_text(latest, run_name, run)
            run = []
        if name:
            run_name, latest = name, event
            run.append(text)
        else:
            yield event
    if run:
        yield _with_text(latest, run_name, run)


def _said_alone(event: Event) -> tuple[str, str]:
    for name in (TEXT, THOUGHT):
        if (text := text_alone(event, name)) is not None:
            return name, text
    return "", ""


def text_alone(event: Event, name: str = TEXT) -> str | None:
    """The text of an event that says nothing else; None where there is more to it, or none."""
    try:
        [choice] = event["choices"]
        delta = choice["delta"]
        text = delta[name]
        if (
            choice.get("finish_reason")
            or choice.get("index")  # a second answer
            or choice.get("logprobs")
            or choice.get("error")
            or event.get("usage")
            or event.get("x_groq")
            or event.get("error")
            or (len(delta) > 1 and _says_more(delta, name))
        ):
            return None
    except (AttributeError, LookupError, TypeError, ValueError):
        return None
    return text if isinstance(text, str) else None


def _says_more(delta: Event, name: str) -> bool:
    """Whether there is a tool call, a refusal or thought, or the role of somebody else."""
    return any(
        value and other != name and (other, value) != ("role", "assistant")
        for other, value in delta.items()
    )


def _with_text(event: Event, name: str, texts: list[str]) -> Event:
    if len(texts) > 1:
        event["choices"][0]["delta"][name] = "".join(texts)
    return event
