"""The shared tail: one blocking read per process, fanned out by question.

A hundred followers are one connection to Redis, not a hundred, and an entry comes
over it once. What a follower has not taken yet is bounded.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .errors import StorageUnavailable
from .events import BEGINNING, Entry, entry_order
from .storage import BLOCK_MS, STORAGE_ERRORS, Backoff, Storage, insist

PAGE = 1_000  # entries a read: a backlog is worked off in few round trips
FEED_ENTRIES = 256  # a follower that is further behind reads on from Redis
FEED_CHARS = 262_144


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
            try:
                async with asyncio.timeout(timeout_s):
                    await self._filled.wait()
            except TimeoutError:
                return []
        self._filled.clear()
        entries = list(self._entries)
        self._entries.clear()
        self._chars = 0
        return entries


class Tail:
    """Reads a stream from its end on and hands its entries to the feeds of their questions."""

    def __init__(self, storage: Storage, stream: str) -> None:
        self._storage = storage
        self._stream = stream
        self._position: str | None = None
        self._begun = asyncio.Event()
        self._feeds: dict[str, set[Feed]] = {}

    async def begun(self) -> None:
        """Wait until there is a position: soon after Redis has first answered."""
        await self._begun.wait()

    @property
    def position(self) -> str:
        """The id up to which everything was read; raises StorageUnavailable before the first."""
        if self._position is None:
            raise StorageUnavailable
        return self._position

    @contextmanager
    def subscribe(self, question_id: str) -> Iterator[Feed]:
        """A feed of what follows for this question, from now until the block is left."""
        feed = Feed(self.position)
        feeds = self._feeds.setdefault(question_id, set())
        feeds.add(feed)
        try:
            yield feed
        finally:
            feeds.discard(feed)
            if not feeds and self._feeds.get(question_id) is feeds:
                del self._feeds[question_id]

    async def run(self) -> None:
        """Read until cancelled, through every outage, from the last position on."""
        self._position = await insist(self._newest_id)
        self._begun.set()
        backoff = Backoff()
        while True:
            try:
                reply = await self._storage.blocking.xread(
                    {self._stream: self._position}, count=PAGE, block=BLOCK_MS
                )
                if not reply:
                    await self._notice_new_beginning()
            except STORAGE_ERRORS as exc:
                backoff.log(exc)
                await backoff.wait()
                continue
            backoff.reset()
            for _, entries in reply:
                self._dispatch(entries)

    def _dispatch(self, entries: list[Any]) -> None:
        for entry_id, fields in entries:
            feeds = self._feeds.get(fields.get("questionId", ""))
            if feeds and (entry := Entry.parse(entry_id, fields)):
                for feed in feeds:
                    feed.put(entry)
        self._position = entries[-1][0]

    async def _newest_id(self) -> str:
        newest = await self._storage.commands.xrevrange(self._stream, count=1)
        return str(newest[0][0]) if newest else BEGINNING

    async def _notice_new_beginning(self) -> None:
        """Go back where the stream begins if it was deleted: XREAD would wait for ever.

        A Redis that was emptied, or restarted with older data, may give ids
        that are smaller than ours. What is read twice then, the fold ignores.
        """
        if entry_order(await self._newest_id()) < entry_order(self.position):
            self._position = BEGINNING
