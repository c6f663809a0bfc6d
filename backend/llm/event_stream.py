"""Reads server-sent events out of bytes as they come, by their specification. No I/O.

https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

from collections.abc import Iterator

MAX_EVENT_BYTES = 1_048_576  # a token takes some hundred; what is longer is no stream of tokens
MAX_DOCUMENT_BYTES = 4_194_304  # a whole answer in place of its pieces
TOO_LONG = "an event is too long"

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
EMPTY_LINE = b"\n\n"  # with the end of the line before it
FIRST_BYTES = b":deir"  # of a comment, and of the fields data, event, error, id, retry

# Its type, empty where the server gave none, and its data. There is one for each token: a plain
# tuple costs least.
ServerSentEvent = tuple[str, bytes]


class EventReader:
    """The events of one body, which may be cut anywhere.

    A server that answers with one JSON document instead sends no event: `close` gives it.
    """

    def __init__(self) -> None:
        self._mark: bytes | None = b""  # what may become a byte-order mark
        self._first = b""  # the first byte that is no blank: it tells what the body is
        self._after_cr = False
        self._pending = bytearray()  # lines of an event whose empty line has not come
        self._document = bytearray()
        self._has_events = False

    def feed(self, block: bytes) -> Iterator[ServerSentEvent]:
        """Give the events that a read completes.

        Raises ValueError, after the events before it, where one is too long.
        """
        if not self._first:
            block = self._begin(block)
        if self._first == b"{":
            self._hold(self._document, block, MAX_DOCUMENT_BYTES)
            return
        if self._after_cr or b"\r" in block:
            block = self._with_line_feeds(block)
        if self._pending:
            # Searched once: a long event in many small reads takes no longer than in a few.
            searched = len(self._pending) - 1
            self._pending += block
            if self._pending.find(EMPTY_LINE, searched) < 0:
                self._hold(self._pending, b"", MAX_EVENT_BYTES)
                return
            block = bytes(self._pending)
            self._pending.clear()
        *whole, rest = block.split(EMPTY_LINE)
        for lines in whole:
            if len(lines) > MAX_EVENT_BYTES:
                raise ValueError(TOO_LONG)
            if lines.startswith(b"data: ") and b"\n" not in lines:  # nearly every event
                self._has_events = True
                yield "", lines[6:]
            elif event := _parse(lines):
                self._has_events = True
                yield event
        if rest:
            self._hold(self._pending, rest, MAX_EVENT_BYTES)

    def close(self) -> bytes:
        """Call this at the end of the body. The body, if it was one JSON document; else empty.

        An event whose empty line has not come is lost. Raises ValueError where the body was
        neither events nor JSON.
        """
        if self._first not in FIRST_BYTES and not self._document and not self._has_events:
            raise ValueError("the body is neither a stream of events nor JSON")
        return bytes(self._document)

    def _begin(self, block: bytes) -> bytes:
        """What follows the byte-order mark and the empty lines at the start of the body."""
        if self._mark is not None:
            block = self._mark + block
            if len(block) < len(BYTE_ORDER_MARK) and BYTE_ORDER_MARK.startswith(block):
                self._mark = block
                return b""
            self._mark = None
            block = block.removeprefix(BYTE_ORDER_MARK)
        block = block.lstrip()
        self._first = block[:1]
        return block

    def _with_line_feeds(self, block: bytes) -> bytes:
        """The same lines, whose ends are line feeds; a CRLF may be cut in its middle."""
        if not block:
            return block
        if self._after_cr:
            block = block.removeprefix(b"\n")
        self._after_cr = block.endswith(b"\r")
        return block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    @staticmethod
    def _hold(held: bytearray, block: bytes, max_bytes: int) -> None:
        held += block
        if len(held) > max_bytes:
            raise ValueError(TOO_LONG)


def _parse(lines: bytes) -> ServerSentEvent | None:
    """The event of these lines; None where they hold no data. Comments, ids and retry are left."""
    kind = ""
    data: list[bytes] = []
    for line in lines.split(b"\n"):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"event":
            kind = str(value, "utf-8", "replace")
        elif name == b"error":  # no field of the specification: llama.cpp's server has it
            kind = "error"
            data.append(value)
    return (kind, b"\n".join(data)) if data else None
