"""The SDK's client, reading what servers really stream, at little cost: see EventClient.

The SDK makes typed objects of every event, which LangChain turns back into dicts; for a stream of
tokens that is most of the work. Where the network brings several tokens at once, they go through
the chain at once; and after its first text an answer is read at the ticks of a ticker, at which
there may be several, and at which other answers are read as well.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar, Self

import httpx2
import openai

from ..runtime.ticker import Ticker
from .chat_events import ChatEvents
from .event_parts import Event
from .event_stream import EventReader
from .response_events import ResponseEvents

DRAIN_S = 0.1  # what may follow the end; a body that was read to its end frees its connection
REST_S = 5.0  # silence behind the reason for the end: token counts and [DONE] come at once
NO_TICKER = Ticker(0)
NO_KEY = "none"  # the SDK insists on a key


class EventStream(openai.AsyncStream[object]):
    """The events of one answer, made regular.

    Raises what the SDK's own stream does, and Incomplete where the body ends before the answer.
    """

    answer: ClassVar[type[ChatEvents | ResponseEvents]] = ChatEvents

    async def __aiter__(self) -> AsyncIterator[Event]:
        request = self.response.request
        try:
            async with contextlib.aclosing(self.response.aiter_bytes()) as body:
                reader, answer, ticker = EventReader(), self.answer(request), self._ticker
                async for block in body:
                    for event in answer.take(reader.feed(block)):
                        yield event
                    if answer.is_whole or answer.is_over:
                        break
                    if answer.has_begun:
                        # What comes meanwhile waits in the connection, which bounds it.
                        await ticker.next()
                while answer.is_whole and not answer.is_over and (block := await _rest(body)):
                    for event in answer.take(reader.feed(block)):
                        yield event
                if document := reader.close():
                    for event in answer.take_document(document):
                        yield event
                for event in answer.end():
                    yield event
                await _drain(body)
        except httpx2.TimeoutException as exc:
            raise openai.APITimeoutError(request=request) from exc
        except httpx2.RequestError as exc:
            raise openai.APIConnectionError(request=request) from exc
        finally:
            await self.response.aclose()

    @property
    def _ticker(self) -> Ticker:
        return self._client.ticker if isinstance(self._client, EventClient) else NO_TICKER


class ResponseStream(EventStream):
    """The same for the Responses API, whose events are the SDK's own types."""

    answer = ResponseEvents


STREAMS = {"/chat/completions": EventStream, "/responses": ResponseStream}


class EventClient(openai.AsyncOpenAI):
    """The SDK's client. Where it streams, it gives the events of `EventStream`.

    An empty key sends none, as servers of one's own want it. With `api_key_header` the key goes
    into a header of that name, as Azure's deployment addresses want it.
    """

    def __init__(
        self,
        *,
        api_key: str,
        api_key_header: bool = False,
        ticker: Ticker = NO_TICKER,
        default_headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        if api_key and api_key_header:
            default_headers = {"api-key": api_key, **(default_headers or {})}
        super().__init__(api_key=api_key or NO_KEY, default_headers=default_headers, **options)
        if api_key_header or not api_key:
            self.api_key = ""  # then the SDK has nothing to authorize with
        self.ticker = ticker
        self._key_header = api_key_header
        self._takes_options: bool | None = None  # `stream_options`, as far as known

    def copy(self, **options: Any) -> Self:
        """Another client with these options changed; all else is this one's."""
        ours = {"ticker": self.ticker, "api_key_header": self._key_header}
        return super().copy(_extra_kwargs=ours, **options)

    with_options = copy

    def _validate_headers(self, *_: Any) -> None:
        """Accept a request without a key, which the SDK refuses."""

    async def post(self, path: str, *, stream: bool = False, **options: Any) -> Any:
        """Send a request, with the SDK's own retries, timeouts and errors.

        Some servers refuse the `stream_options` that ask for token counts: as long as nothing
        is known of a server, a refused request is sent once more without.
        """
        if not stream or path not in STREAMS:
            return await super().post(path, stream=stream, **options)
        options |= {"cast_to": object, "stream_cls": STREAMS[path]}
        body = options.get("body")
        if not isinstance(body, Mapping) or "stream_options" not in body:
            return await super().post(path, stream=True, **options)
        plain = {name: value for name, value in body.items() if name != "stream_options"}
        if self._takes_options is not False:
            try:
                response = await super().post(path, stream=True, **options)
            except (openai.BadRequestError, openai.UnprocessableEntityError):
                if self._takes_options:
                    raise
            else:
                self._takes_options = True
                return response
        response = await super().post(path, stream=True, **options | {"body": plain})
        self._takes_options = self._takes_options or False
        return response


async def _rest(body: AsyncIterator[bytes]) -> bytes:
    """The next read behind the reason for the end; empty where none comes: the answer is whole."""
    with contextlib.suppress(TimeoutError, httpx2.RequestError):
        async with asyncio.timeout(REST_S):
            return await anext(body, b"")
    return b""


async def _drain(body: AsyncIterator[bytes]) -> None:
    """Read to the end of the body, so that its connection can be used again."""
    with contextlib.suppress(TimeoutError, httpx2.RequestError):
        async with asyncio.timeout(DRAIN_S):
            async for _ in body:
                pass
