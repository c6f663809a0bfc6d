"""One user's consumer group in Redis: reading, acknowledging and claiming its entries."""

import asyncio
from collections.abc import Iterable

from redis.exceptions import ResponseError

from ..protocol.entries import BEGINNING, entry_order
from .connection import Storage, insist

READ_COUNT = 1_000  # entries one XREADGROUP puts on the pending list
CLAIM_COUNT = 100  # pending entries one XAUTOCLAIM scans
CLAIMS = 10  # so many of them a call: more than a user has on the way to any client


class ConsumerGroup:
    """The group of one user's stream, with the names of the Node original.

    `delivered` is an id up to which every entry was given to the group: it is
    pending now, or was acknowledged.
    """

    def __init__(self, storage: Storage, base: str, user_id: str, ttl_s: int) -> None:
        self.stream = f"{base}:{user_id}"
        self.name = f"{base}_Grp_{user_id}"
        self.consumer = f"{base}_Con_{user_id}"
        self.delivered = BEGINNING
        self._claim_cursor = BEGINNING
        self._ttl_s = ttl_s
        self._redis = storage.commands
        self._pipelining = storage.pipelining
        self._reading = asyncio.Lock()

    async def create(self) -> None:
        """Make sure that it exists; it begins with the oldest entry.

        With it may begin the stream, which expires unless somebody writes to it.
        """
        try:
            await self._pipelining.send(*("XGROUP CREATE", self.stream, self.name, "0", "MKSTREAM"))
        except ResponseError as exc:
            if not str(exc).startswith("BUSYGROUP"):
                raise
        else:
            await self._pipelining.send("EXPIRE", self.stream, self._ttl_s)

    async def last_delivered(self) -> str:
        """The id of the youngest entry that was given to the group, on any server."""
        await self.create()
        for group in await self._pipelining.send("XINFO GROUPS", self.stream):
            if group["name"] == self.name:
                return str(group["last-delivered-id"])
        return BEGINNING

    async def deliver(self, entry_id: str) -> None:
        """Return once this entry was given to the group, with all that stands before it.

        An entry is given once in the group's life, whichever server asks for it. Waits
        through outages.
        """
        async with self._reading:
            while entry_order(entry_id) > entry_order(self.delivered):
                ids = await insist(self._read_next)
                if len(ids) == READ_COUNT:
                    self.delivered = ids[-1]
                else:  # nothing is left, up to this entry at least
                    self.delivered = max([entry_id, *ids[-1:]], key=entry_order)

    async def _read_next(self) -> list[str]:
        try:
            reply = await self._pipelining.send(
                *("XREADGROUP", "GROUP", self.name, self.consumer),
                *("COUNT", READ_COUNT, "STREAMS", self.stream, ">"),
            )
        except ResponseError:  # NOGROUP
            if not await self._pipelining.send("EXISTS", self.stream):
                return []  # it has expired, and nothing in it can be pending any more
            await self.create()  # Redis was emptied, and has new entries
            raise
        return [entry_id for _, entries in reply or () for entry_id, _ in entries]

    async def acknowledge(self, entry_ids: Iterable[str]) -> None:
        """Take entries off the list of pending ones; those that are not on it do no harm."""
        await self._pipelining.send("XACK", self.stream, self.name, *entry_ids)

    async def is_acknowledged(self, entry_id: str) -> bool:
        """Whether this entry was given to the group, and acknowledged."""
        if entry_order(entry_id) > entry_order(await self.last_delivered()):
            return False
        return not await self._redis.xpending_range(
            self.stream, self.name, min=entry_id, max=entry_id, count=1
        )

    async def claim(self, idle_ms: int) -> dict[str, list[str]]:
        """Take over what has been pending for so long, under whichever consumer's name.

        Returns the ids of what was claimed, by question. One call scans CLAIMS times
        CLAIM_COUNT entries, and the next one goes on behind them. Redis drops on the way
        what was trimmed from the stream meanwhile.
        """
        claimed: dict[str, list[str]] = {}
        for _ in range(CLAIMS):
            self._claim_cursor, entries, *_ = await self._redis.xautoclaim(
                *(self.stream, self.name, self.consumer, idle_ms),
                start_id=self._claim_cursor,
                count=CLAIM_COUNT,
            )
            for entry_id, fields in entries:
                if fields is not None:  # as Redis before 7 reports what was trimmed
                    claimed.setdefault(fields.get("questionId", ""), []).append(entry_id)
            if self._claim_cursor == BEGINNING:
                break
        return claimed
