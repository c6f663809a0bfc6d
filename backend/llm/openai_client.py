"""The provider's events, taken in at little cost: plain dicts, and what came together as one.

The SDK makes typed objects of every event, which LangChain turns back into dicts; for a stream of
tokens that is most of the work. Where the network brings several tokens at once, they can go
through the chain at once, too; and after its first words an answer is read at the moments of a
pace, at which there may be several, and at which other answers are read as well.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from typing import Any

import httpx2
import openai

from ..pace import Pace

MAX_EVENT_BYTES = 1_048_576  # a token takes some hundred; what is longer is no stream of tokens
DRAIN_S = 0.1  # what may follow [DONE]; a body that was read to its end frees its connection

Event = Any  # JSON, of whatever shape the provider gives it


class EventClient(openai.AsyncOpenAI):
    """The SDK's client. Where it streams, it gives events as plain dicts, by `EventStream`."""

    pace = Pace(0)

    async def post(self, path: str, *, stream: bool = False, **options: Any) -> Any:
        """Send a request, with the SDK's own retries, timeouts and errors."""
        if stream:
            options |= {"cast_to": object, "stream_cls": EventStream}
        response = await super().post(path, stream=stream, **options)
        if isinstance(response, EventStream):
            response.pace = self.pace
        return response


class EventStream(openai.AsyncStream[object]):
    """The events of one answer. It raises what the SDK's own stream does."""

    pace = Pace(0)

    async def __aiter__(self) -> AsyncIterator[Event]:
        request = self.response.request
        try:
            body = self.response.aiter_bytes()
            async with contextlib.aclosing(read_events(body, self.pace)) as reads:
                async for events in reads:
                    for event in join_texts(events) if len(events) > 1 else events:
                        if isinstance(event, dict) and event.get("error"):
                            raise _error_in(event["error"], request)
                        yield event
        except httpx2.TimeoutException as exc:
            raise openai.APITimeoutError(request=request) from exc
        except httpx2.RequestError as exc:
            raise openai.APIConnectionError(request=request) from exc
        finally:
            await self.response.aclose()


async def read_events(body: AsyncIterator[bytes], pace: Pace) -> AsyncGenerator[list[Event]]:
    """Give the events that each read completes, up to [DONE]; what follows is read and dropped.

    Raises ValueError where the body is no stream of JSON.
    """
    rest = b""
    begun = False
    async for block in body:
        *whole, rest = (rest + block).replace(b"\r\n", b"\n").split(b"\n\n")
        if len(rest) > MAX_EVENT_BYTES:
            raise ValueError("an event is too long")
        events: list[Event] = []
        for data in filter(None, map(_data, whole)):
            if data.startswith(b"[DONE]"):
                yield events
                await _drain(body)
                return
            try:
                events.append(json.loads(data))
            except ValueError:
                yield events  # what came before it counts
                raise
        yield events
        # What comes meanwhile waits in the connection, which bounds it.
        if begun := begun or any(map(text_alone, events)):
            await pace.next()


async def _drain(body: AsyncIterator[bytes]) -> None:
    """Read to the end of the body, so that its connection can be used again."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_S):
            async for _ in body:
                pass


def _data(event: bytes) -> bytes:
    """The data of a server-sent event, empty where it has none."""
    if event.startswith(b"data: ") and b"\n" not in event:
        return event[6:]
    lines = (line[5:] for line in event.split(b"\n") if line.startswith(b"data:"))
    return b"\n".join(line.removeprefix(b" ") for line in lines)


def join_texts(events: Iterable[Event]) -> Iterator[Event]:
    """The same events, with neighbours that carry nothing but text joined to one."""
    texts: list[str] = []
    latest: Event = None
    for event in events:
        text = text_alone(event)
        if texts and text is None:
            yield _with_text(latest, texts)
            texts = []
        if text is None:
            yield event
        else:
            latest = event
            texts.append(text)
    if texts:
        yield _with_text(latest, texts)


def text_alone(event: Event) -> str | None:
    """The text of an event that says nothing else; None where there is more to it, or none."""
    try:
        [choice] = event["choices"]
        delta = choice["delta"]
        text = delta["content"]
        # A role, tool calls, a refusal; the reason for the end, token counts, a second answer.
        others = any(value for name, value in delta.items() if name != "content")
        if others or any(map(choice.get, _OF_A_CHOICE)) or event.get("usage"):
            return None
    except (AttributeError, LookupError, TypeError, ValueError):
        return None
    return text if isinstance(text, str) else None


_OF_A_CHOICE = ("finish_reason", "logprobs", "index")


def _with_text(event: Event, texts: list[str]) -> Event:
    if len(texts) > 1:
        event["choices"][0]["delta"]["content"] = "".join(texts)
    return event


def _error_in(error: Any, request: httpx2.Request) -> openai.APIError:
    """An error that came as an event, in the form in which the SDK raises it."""
    message = error.get("message") if isinstance(error, dict) else None
    if not isinstance(message, str) or not message:
        message = "An error occurred during streaming"
    return openai.APIError(message, request, body=error)
