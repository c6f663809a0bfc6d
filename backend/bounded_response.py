"""What a model's provider may send: so much, and not so fast that others have to wait."""

import asyncio
from collections.abc import AsyncIterator

import httpx2  # what the OpenAI client is built on; it comes with that

from .errors import ModelError

# Of one response, as it comes over the wire: some 200,000 pieces, which is more than any model
# gives for one answer. Without a bound the library gathers an endless line, or error, in memory.
RESPONSE_BYTES = 64_000_000


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = RESPONSE_BYTES
        async for data in self._stream:
            left -= len(data)
            if left < 0:
                raise ModelError
            yield data
            # Where the next bytes are there already, nobody else would have a turn: of a flood of
            # empty lines or pieces the library gives nothing on, for as long as it lasts.
            await asyncio.sleep(0)

    async def aclose(self) -> None:
        await self._stream.aclose()


async def bound(response: httpx2.Response) -> None:
    """Bound a response whose body has not been read; for `event_hooks` of a client.

    Reading it raises ModelError beyond RESPONSE_BYTES.
    """
    if isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = _BoundedStream(response.stream)
