"""Event streams are read by their specification, wherever the network cuts them."""

import time
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.llm import event_stream
from backend.llm.event_stream import BYTE_ORDER_MARK, EventReader, ServerSentEvent

LINE_ENDS = ["\n", "\r\n", "\r"]


def read(*blocks: bytes) -> list[ServerSentEvent]:
    """The events of a body that comes in these blocks."""
    reader = EventReader()
    events = [event for block in blocks for event in reader.feed(block)]
    assert reader.close() == b""
    return events


def cut(body: bytes, cuts: Iterable[int]) -> list[bytes]:
    """The body, cut at these places."""
    places = sorted(cuts)
    return [body[start:end] for start, end in zip([0, *places], [*places, len(body)], strict=True)]


# Spellings


@pytest.mark.parametrize(
    ("lines", "event"),
    [
        ("data: a", ("", b"a")),
        ("data:a", ("", b"a")),
        ("data:  a ", ("", b" a ")),
        ("data: a\ndata:b\ndata\ndata: c", ("", b"a\nb\n\nc")),
        ("data", ("", b"")),
        ("event: error\ndata: a", ("error", b"a")),
        ("data: a\nevent:ping", ("ping", b"a")),
        ("event: a\nevent: b\ndata: c", ("b", b"c")),
        ("id: 7\nretry: 10\ndata: a", ("", b"a")),
        (": a comment\ndata: a\n:another", ("", b"a")),
        ("unknown: b\ndata: a\n data: c\nDATA: d", ("", b"a")),
        ("data: a: b", ("", b"a: b")),
        ("data: \u6f22\U0001f98a", ("", "\u6f22\U0001f98a".encode())),
        ("error: a", ("error", b"a")),
    ],
)
def test_fields(lines: str, event: ServerSentEvent) -> None:
    """Fields come with or without a blank, a colon or a value; others than ours are left out."""
    assert read(f"{lines}\n\n".encode()) == [event]


@pytest.mark.parametrize("line_end", LINE_ENDS, ids=repr)
def test_line_ends(line_end: str) -> None:
    """A line ends with a line feed, a carriage return, or both."""
    body = "data: a\ndata: b\n\n: c\n\n\n\nevent: e\ndata: d\n\n".replace("\n", line_end)
    assert read(body.encode()) == [("", b"a\nb"), ("e", b"d")]


def test_line_ends_may_be_mixed() -> None:
    """Each line may end in its own way, and an empty line in another than the line before."""
    body = b"data: a\r\n\ndata: b\n\r\ndata: c\r\ndata: d\r\rdata: e\n\n"
    assert read(body) == [("", b"a"), ("", b"b"), ("", b"c\nd"), ("", b"e")]


@pytest.mark.parametrize("silent", ["event: a", ": a", "id: 1", "retry: 2", "", "nothing"])
def test_without_data_there_is_no_event(silent: str) -> None:
    """A block without data says nothing, and its type is not kept for the next."""
    assert read(f"{silent}\n\ndata: a\n\n".encode()) == [("", b"a")]


def test_an_unfinished_event_is_lost() -> None:
    """An event counts once the empty line behind it has come."""
    assert read(b"data: a\n\ndata: b\n") == [("", b"a")]


def test_an_event_does_not_wait_for_the_next() -> None:
    """It is given by the read that completes it, a carriage return being enough."""
    reader = EventReader()
    assert list(reader.feed(b"data: a\r\r")) == [("", b"a")]
    assert list(reader.feed(b"\ndata: b\r\n\r")) == [("", b"b")]
    assert list(reader.feed(b"\ndata: c\r\n\r\n")) == [("", b"c")]


# Cuts


@pytest.mark.parametrize("line_end", LINE_ENDS, ids=repr)
def test_byte_by_byte(line_end: str) -> None:
    """Every byte may come by itself, that of a mark, a line end or a letter as well."""
    body = (
        BYTE_ORDER_MARK
        + "data: \u6f22\n\n:c\n\nevent: e\ndata:\U0001f98a\n\n".replace("\n", line_end).encode()
    )
    blocks = [body[place : place + 1] for place in range(len(body))]
    assert read(*blocks) == [("", "\u6f22".encode()), ("e", "\U0001f98a".encode())]


LINES = st.sampled_from([b"data: a", b"data:b", b"event: e", b": c", b"data", b"", b"", b"id: 1"])


@given(
    st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\r\n", b"\r"])), max_size=12),
    st.booleans(),
    st.data(),
)
def test_cuts_do_not_matter(
    lines: list[tuple[bytes, bytes]], has_mark: bool, data: st.DataObject
) -> None:
    """However a body is cut, its events are the same."""
    body = b"".join(line + end for line, end in lines)
    whole = read(body)
    body = BYTE_ORDER_MARK + body if has_mark else body
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=6))
    assert read(*cut(body, cuts)) == whole


# Bounds


def test_an_event_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is gathered of one event is bounded, however it comes."""
    monkeypatch.setattr(event_stream, "MAX_EVENT_BYTES", 20)
    long = b"data: " + b"x" * 20 + b"\n\n"
    for blocks in ([long], [long[:15], long[15:]], [long[:15], long[15:23]]):
        reader = EventReader()
        assert list(reader.feed(b"data: a\n\n")) == [("", b"a")]
        with pytest.raises(ValueError, match="too long"):
            [event for block in blocks for event in reader.feed(block)]


def test_what_comes_before_a_long_event_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The events of a read are given before it fails."""
    monkeypatch.setattr(event_stream, "MAX_EVENT_BYTES", 20)
    events = EventReader().feed(b"data: a\n\ndata: " + b"x" * 20)
    assert next(events) == ("", b"a")
    with pytest.raises(ValueError, match="too long"):
        next(events)


def test_a_long_event_in_small_reads_takes_no_longer_time() -> None:
    """The work for an event grows with its length, not with its length times the reads."""

    def took_s(size: int) -> float:
        reader = EventReader()
        started = time.process_time()
        for _ in range(size // 4):
            list(reader.feed(b"xxxx"))
        return time.process_time() - started

    took_s(10_000)
    once = min(took_s(50_000) for _ in range(3))
    assert min(took_s(400_000) for _ in range(3)) < 30 * once  # 64 times, if it were squared


# What is no event stream


@pytest.mark.parametrize("mark", [b"", BYTE_ORDER_MARK], ids=["plain", "mark"])
@pytest.mark.parametrize("blanks", [b"", b"\r\n\n \t"], ids=["at once", "blanks"])
@pytest.mark.parametrize("size", [1, 3, 1_000])
def test_a_document_of_json_is_given_at_the_end(mark: bytes, blanks: bytes, size: int) -> None:
    """A body that begins with a brace is read whole, whatever lines there are in it."""
    document = b'{\r\n\r\n "a": 1,\n\n "data: b": 2}\n\n'
    body = mark + blanks + document
    reader = EventReader()
    for place in range(0, len(body), size):
        assert list(reader.feed(body[place : place + size])) == []
    assert reader.close() == document


def test_a_document_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is gathered of a document is bounded."""
    monkeypatch.setattr(event_stream, "MAX_DOCUMENT_BYTES", 20)
    with pytest.raises(ValueError, match="too long"):
        list(EventReader().feed(b"{" + b" " * 20))


@pytest.mark.parametrize("body", [b"<!DOCTYPE html>\n\n<p>", b"Bad gateway", b"[1]", b'"a"\n\n'])
def test_anything_else_is_refused_at_its_end(body: bytes) -> None:
    """A page, a text, or a list is neither a stream of events nor a document."""
    reader = EventReader()
    assert list(reader.feed(body)) == []
    with pytest.raises(ValueError, match="neither"):
        reader.close()


@pytest.mark.parametrize("body", [b"", b"\n\n \r\n", b"\xef\xbb", b": c", b"dat", b"data: a"])
def test_a_body_that_is_cut_short_may_have_been_one(body: bytes) -> None:
    """Where nothing or the start of a stream has come, nothing is wrong with it."""
    assert read(body) == []


def test_a_stream_may_begin_with_an_unknown_field() -> None:
    """Whatever the first line is, a body with events in it is a stream."""
    assert read(b"version: 1\n\ndata: a\n\n") == [("", b"a")]
