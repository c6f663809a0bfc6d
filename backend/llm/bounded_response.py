"""What a model's provider may send: so much, and not so fast that others have to wait.

What came before a connection broke counts, however late it is read.
"""

import asyncio
from collections.abc import AsyncIterator

import httpx2  # what the OpenAI client is built on; it comes with that
from aiohttp import ClientResponse

from ..protocol.errors import ModelError
from .decompression import CompressedResponse, decompressor_for

# Of one response, as it comes over the wire, and once more of what it stands for if it is
# compressed: some 200,000 pieces, which is more than any model gives for one answer. Without a
# bound the library gathers an endless line, or error, in memory.
RESPONSE_BYTES = 64_000_000

# A megabyte that was compressed may stand for gigabytes, and the library undoes it all at once.
# Pieces of some bytes gain nothing by it, so none of it is asked for; what is compressed all
# the same, as some gateways do with their errors, is undone here.
HEADERS = {"Accept-Encoding": "identity"}


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


class _DecompressedStream(httpx2.AsyncByteStream):
    """What a compressed stream stands for, within the same bound.

    `is_lenient` is for errors, whose status says the most: what cannot be read of them is
    left out. Else it raises CompressedResponse.
    """

    def __init__(
        self, stream: httpx2.AsyncByteStream, encodings: list[str], *, is_lenient: bool
    ) -> None:
        self._stream = stream
        self._encodings = encodings
        self._is_lenient = is_lenient

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            left = RESPONSE_BYTES
            decompressor = decompressor_for(self._encodings)
            async for data in self._stream:
                for piece in decompressor.feed(data):
                    left -= len(piece)
                    if left < 0:
                        raise ModelError
                    yield piece
                    await asyncio.sleep(0)  # as above
        except CompressedResponse:
            if not self._is_lenient:
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

    Reading it raises ModelError beyond RESPONSE_BYTES. What is compressed is decompressed;
    where that cannot be done, reading raises CompressedResponse, unless its status is an error.
    """
    if not isinstance(response.stream, httpx2.AsyncByteStream):
        return
    stream = response.stream = _BoundedStream(response.stream)
    told = response.headers.get("Content-Encoding", "").lower().split(",")
    if encodings := [name for name in map(str.strip, told) if name not in ("", "identity")]:
        response.stream = _DecompressedStream(stream, encodings, is_lenient=not response.is_success)
        # The library would decompress it once more.
        for name in ("Content-Encoding", "Content-Length"):
            response.headers.pop(name, None)
