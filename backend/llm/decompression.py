"""Undoes gzip and deflate as the bytes come, in pieces of bounded size. No I/O."""

import zlib
from collections.abc import Iterator

ENCODINGS = frozenset({"deflate", "gzip", "x-gzip"})
PIECE_BYTES = 65_536  # a megabyte may stand for gigabytes: so much of it is made at once

GZIP_OR_ZLIB = zlib.MAX_WBITS | 32
NO_HEADER = -zlib.MAX_WBITS  # what some servers take deflate for


class CompressedResponse(ValueError):
    """What a provider has sent cannot be decompressed."""


class Decompressor:
    """The bytes that a compressed body stands for; what follows its end is dropped."""

    def __init__(self) -> None:
        self._head = b""
        self._inflate: zlib._Decompress | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Give what these bytes stand for; raises CompressedResponse where they are broken."""
        if self._inflate is None:
            self._head = data = self._head + data
            if len(data) < 2:
                return
            self._inflate = zlib.decompressobj(GZIP_OR_ZLIB if _has_header(data) else NO_HEADER)
        full = False
        while (data or full) and not self._inflate.eof:
            try:
                piece = self._inflate.decompress(data, PIECE_BYTES)
            except zlib.error as exc:
                raise CompressedResponse("the compressed data is broken") from exc
            data = self._inflate.unconsumed_tail
            full = len(piece) == PIECE_BYTES  # then more of it may be there already
            if piece:
                yield piece


def decompressor_for(encodings: list[str]) -> Decompressor:
    """The one for the encodings in a header; raises CompressedResponse where there is none."""
    if len(encodings) != 1 or encodings[0] not in ENCODINGS:
        raise CompressedResponse("an unknown content encoding")
    return Decompressor()


def _has_header(data: bytes) -> bool:
    """Whether this is the header of gzip (RFC 1952) or of zlib (RFC 1950)."""
    is_zlib = data[0] & 0x0F == 8 and int.from_bytes(data[:2]) % 31 == 0
    return is_zlib or data.startswith(b"\x1f\x8b")
