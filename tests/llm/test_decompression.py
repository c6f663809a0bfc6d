"""What a provider has compressed is undone as it comes, in pieces of bounded size."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.llm.decompression import (
    PIECE_BYTES,
    CompressedResponse,
    Decompressor,
    decompressor_for,
)


def raw_deflate(data: bytes) -> bytes:
    """Deflate without the header that RFC 9110 asks for."""
    return zlib.compress(data, wbits=-zlib.MAX_WBITS)


COMPRESSIONS = [gzip.compress, zlib.compress, raw_deflate]


def undone(*blocks: bytes) -> bytes:
    """What these blocks stand for."""
    decompressor = Decompressor()
    return b"".join(piece for block in blocks for piece in decompressor.feed(block))


@pytest.mark.parametrize("compress", COMPRESSIONS)
@given(text=st.binary(max_size=200), data=st.data())
def test_cuts_do_not_matter(compress: type, text: bytes, data: st.DataObject) -> None:
    """Whatever the encoding and the cuts, the text comes out."""
    body = compress(text)
    cut = data.draw(st.integers(0, len(body)))
    assert undone(body[:cut], b"", body[cut:]) == text
    assert undone(*(body[place : place + 1] for place in range(len(body)))) == text


def test_what_has_come_does_not_wait_for_the_end() -> None:
    """A server that flushes after each event is read event by event."""
    compressor = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    decompressor = Decompressor()
    for text in (b"one", b"two"):
        sent = compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH)
        assert b"".join(decompressor.feed(sent)) == text


@pytest.mark.parametrize("compress", COMPRESSIONS)
def test_a_bomb_comes_in_pieces(compress: type) -> None:
    """A kilobyte that stands for a megabyte is made a bounded piece at a time."""
    pieces = list(Decompressor().feed(compress(bytes(1_000_000))))
    assert sum(map(len, pieces)) == 1_000_000
    assert max(map(len, pieces)) <= PIECE_BYTES


def test_what_follows_the_end_is_dropped() -> None:
    """Anything behind the compressed data is not looked at."""
    body = gzip.compress(b"text")
    assert undone(body + b"garbage", b"more") == b"text"


@pytest.mark.parametrize(
    "body",
    [b"no gzip at all", gzip.compress(b"text")[:-1] + b"\xff"],
    ids=["another format", "a broken end"],
)
def test_broken_data_is_told(body: bytes) -> None:
    """Data that cannot be decompressed is a failure."""
    with pytest.raises(CompressedResponse):
        undone(body)


@pytest.mark.parametrize("encodings", [["gzip"], ["x-gzip"], ["deflate"]])
def test_known_encodings(encodings: list[str]) -> None:
    """The encodings that every server knows are known."""
    assert isinstance(decompressor_for(encodings), Decompressor)


@pytest.mark.parametrize("encodings", [["br"], ["zstd"], ["gzip", "gzip"], []])
def test_other_encodings_are_told(encodings: list[str]) -> None:
    """Any other encoding, or several, are a failure."""
    with pytest.raises(CompressedResponse):
        decompressor_for(encodings)
