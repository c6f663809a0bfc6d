"""What a model's provider may send: so much, as it is, and not so fast that others have to wait.

What came before a connection broke counts, however late it is read.
"""

import asyncio
from collections.abc import AsyncIterator

import httpx2  # what the OpenAI client is built on; it comes with that
from aiohttp import ClientResponse

from ..errors import ModelError

# Of one response, as it comes over the wire: some 200,000 pieces, which is more than any model
# gives for one answer. Without a bound the library gathers an endless line, or error, in memory.
RESPONSE_BYTES = 64_000_000

# A megabyte that was compressed may stand for gigabytes, and the library undoes it all at once
# where it reads an error. Pieces of some bytes gain nothing by it, so none of it is asked for.
HEADERS = {"Accept-Encoding": "identity"}


class CompressedResponse(ValueError):
    """A provider has compressed what it sends, though it was asked not to."""


class _CompressedStream(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        raise CompressedResponse
        yield b""

    async def aclose(self) -> None:
        await self._stream.aclose()


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = RESPONSE_BYTES
        try:
            async for data in self._stream:
                left -= len(data)
                if left < 0:
                    raise ModelError
                yield data
                # Where the next bytes are there already, nobody else would have a turn: of a flood
                # of empty lines or pieces the library gives nothing on, for as long as it lasts.
                await asyncio.sleep(0)
        except httpx2.TransportError:
            if unread := _unread(self._stream):
                yield unread
            raise

    async def aclose(self) -> None:
        await self._stream.aclose()


def _unread(stream: httpx2.AsyncByteStream) -> bytes:
    """What aiohttp had received when the connection broke: it raises rather than give it on.

    There is no public way to it, neither through aiohttp nor through the client and the transport
    around it. Bounded by aiohttp's buffer; empty with another transport.
    """
    response = getattr(getattr(stream, "_stream", None), "_aiohttp_response", None)
    return response.content._read_nowait(-1) if isinstance(response, ClientResponse) else b""


async def bound(response: httpx2.Response) -> None:
    """Bound a response whose body has not been read; for `event_hooks` of a client.

    Reading it raises ModelError beyond RESPONSE_BYTES, and CompressedResponse where it is
    compressed: its client has to ask with HEADERS.
    """
    if isinstance(response.stream, httpx2.AsyncByteStream):
        plain = response.headers.get("Content-Encoding", "").lower() in ("", "identity")
        response.stream = (_BoundedStream if plain else _CompressedStream)(response.stream)
