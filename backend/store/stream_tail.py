"""The stream tail: one blocking read per process, fanned out by question.

A hundred followers share one connection to Redis, and an entry comes over it once. What a
follower has not taken yet is bounded.
"""

import asyncio
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ..protocol.entries import BEGINNING, Entry, entry_order
from ..protocol.errors import StorageUnavailable
from ..runtime.metrics import Metrics
from .connection import (
    BLOCK_MS,
    STORAGE_ERRORS,
    Backoff,
    Storage,
    expecting_ours,
    insist,
)

TAIL_READ_ENTRIES = 1_000  # a backlog is worked off in few round trips
FEED_ENTRIES = 256  # high-water mark: a follower that is further behind reads on from Redis
FEED_CHARS = 262_144  # the same, in characters
WAKE_TTL_S = 5  # of the stream that interrupts a blocking read: it has done so at once


class Feed:
    """What has come in for one follower since it subscribed.

    `position` is the id behind which the feed begins. Once more has gathered
    than a feed may hold, it is `overrun`: it is empty then and stays empty.
    """

    def __init__(self, position: str) -> None:
        self.position = position
        self.overrun = False
        self._entries: deque[Entry] = deque()
        self._chars = 0
        self._filled = asyncio.Event()

    def put(self, entry: Entry) -> None:
        """Add an entry; called by the tail."""
        if self.overrun:
            return
        self._entries.append(entry)
        self._chars += len(entry.text)
        if len(self._entries) > FEED_ENTRIES or self._chars > FEED_CHARS:
            self.overrun = True
            self._entries.clear()
        self._filled.set()

    async def take(self, timeout_s: float) -> list[Entry]:
        """Wait for entries and take all there are; none in time, or overrun: an empty list."""
        if not self._entries and not self.overrun:
            # Cheaper than asyncio.timeout, by a quarter of the way of an entry to its follower.
            enough = asyncio.get_running_loop().call_later(timeout_s, self._filled.set)
            try:
                await self._filled.wait()
            finally:
                enough.cancel()
        self._filled.clear()
        entries = list(self._entries)
        self._entries.clear()
        self._chars = 0
        return entries


class _FollowedStream:
    """A stream that is read, up to `position`, for the followers of its questions."""

    def __init__(self, position: str) -> None:
        self.position = position
        self.feeds: dict[str, set[Feed]] = {}

    def dispatch(self, entries: list[Any]) -> None:
        for entry_id, fields in entries:
            feeds = self.feeds.get(fields.get("questionId", ""))
            if feeds and (entry := Entry.parse(entry_id, fields)):
                for feed in feeds:
                    feed.put(entry)
        self.position = entries[-1][0]

    def add(self, question_id: str) -> Feed:
        feed = Feed(self.position)
        self.feeds.setdefault(question_id, set()).add(feed)
        return feed

    def remove(self, question_id: str, feed: Feed) -> None:
        feeds = self.feeds.get(question_id, set())
        feeds.discard(feed)
        if not feeds:
            self.feeds.pop(question_id, None)


class StreamTail:
    """Reads streams as they grow and hands their entries to the feeds of their questions.

    One stream, `always`, may be read all the time; others are while somebody
    follows an answer in them.
    """

    def __init__(self, storage: Storage, always: str | None, metrics: Metrics) -> None:
        self._storage = storage
        self._metrics = metrics
        self._always = always
        self._streams: dict[str, _FollowedStream] = {}
        self._begun = asyncio.Event()
        # XREAD cannot be told of one more stream while it waits; so it also waits for this.
        self._wake_stream = f"OPENAI_TAILS:{uuid.uuid4().hex}"
        self._woken_at = BEGINNING

    async def begun(self) -> None:
        """Wait until Redis has first answered, and the position is known where it begins."""
        await self._begun.wait()

    def require(self) -> None:
        """Raise StorageUnavailable before it has begun."""
        if not self._begun.is_set():
            raise StorageUnavailable

    def position(self, stream: str) -> str | None:
        """The id up to which a stream was read; None where it is not read now."""
        return self._streams[stream].position if stream in self._streams else None

    @asynccontextmanager
    async def subscribe(
        self, stream: str, question_id: str, position: str = BEGINNING
    ) -> AsyncIterator[Feed]:
        """A feed of what follows for this question, from now until the block is left.

        `position` is where to begin with a stream that is not read yet. Raises
        StorageUnavailable before the first read, and Expired where what should be the stream
        is none; waits through a later outage.
        """
        self.require()
        if stream not in self._streams:  # one wrong key would fail the reading of all streams
            await insist(lambda: self._require_stream(stream))
        followed = self._streams.get(stream)
        if is_new := followed is None:
            followed = self._streams[stream] = _FollowedStream(position)
        feed = followed.add(question_id)
        try:
            if is_new:
                await insist(self._wake)
            yield feed
        finally:
            followed.remove(question_id, feed)
            if not followed.feeds and stream != self._always:
                del self._streams[stream]

    async def _require_stream(self, stream: str) -> None:
        with expecting_ours():
            await newest_id(self._storage, stream)

    async def run(self) -> None:
        """Read until cancelled, through every outage, from the last positions on."""
        read_at = time.monotonic()
        self._metrics.tail_age.set_function(lambda: time.monotonic() - read_at)
        if self._always:
            newest = await insist(lambda: newest_id(self._storage, str(self._always)))
            self._streams[self._always] = _FollowedStream(newest)
        else:
            await insist(self._storage.commands.ping)
        self._begun.set()
        backoff = Backoff()
        while True:
            try:
                await self._read()
            except STORAGE_ERRORS as exc:
                backoff.log(exc)
                await backoff.wait()
                continue
            backoff.reset()
            read_at = time.monotonic()

    async def _read(self) -> None:
        read = dict(self._streams)  # while we wait others come, and some of these may go
        cursors = {name: stream.position for name, stream in read.items()}
        reply = await self._storage.blocking.xread(
            {**cursors, self._wake_stream: self._woken_at},
            count=max(1, TAIL_READ_ENTRIES // len(read)) if read else TAIL_READ_ENTRIES,
            block=BLOCK_MS,
        )
        if not reply:
            await self._notice_deleted_streams(read)
        for name, entries in reply:
            if name == self._wake_stream:
                self._woken_at = entries[-1][0]
            elif self._streams.get(name) is read[name]:  # not one that was followed again since
                read[name].dispatch(entries)

    async def _wake(self) -> None:
        """Make the read under way return, so that the next one includes a new stream."""
        await self._storage.pipelining.send_together(
            ("XADD", self._wake_stream, "MAXLEN", "1", "*", "ring", ""),
            ("EXPIRE", self._wake_stream, WAKE_TTL_S),
        )

    async def _notice_deleted_streams(self, read: dict[str, _FollowedStream]) -> None:
        """Go back where a stream begins if it was deleted: XREAD would wait for ever.

        A Redis that was emptied, or restarted with older data, may give ids
        that are smaller than ours. What is read twice then, the fold ignores.
        """
        newest = await asyncio.gather(*(newest_id(self._storage, name) for name in read))
        for stream, entry_id in zip(read.values(), newest, strict=True):
            if entry_order(entry_id) < entry_order(stream.position):
                stream.position = BEGINNING


async def newest_id(storage: Storage, stream: str) -> str:
    """The id of the youngest entry of a stream; that of the beginning where it is empty."""
    newest = await storage.pipelining.send("XREVRANGE", stream, "+", "-", "COUNT", 1)
    return str(newest[0][0]) if newest else BEGINNING
