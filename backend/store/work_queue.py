"""The work queue: a Redis stream that workers share as one consumer group.

An entry is pending from its delivery until it is finished, and the time since
its last delivery or renewal is its lease: whoever finds it idle for longer than
a lease may claim it. Redis Streams are the engine; who may write an answer is
decided by the question's record, not here.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from .connection import BLOCK_MS, Client, Storage
from .pipelining import Command, Pipelining

QUEUE_STREAM = "OPENAI_QUESTIONS"
QUEUE_GROUP = "OPENAI_WORKERS"
# An entry that was handed over is marked as idle for this long, so that it can
# be told from one whose worker has died, and be claimed without waiting.
RELEASED_IDLE_MS = 86_400_000
RELEASED_AT_ONCE = 1_000  # entries; a worker has no more in work

# A script, so that nobody is given a question between the look and the removal,
# which would lose it. XINFO answers with names and values in turn.
FORGET_CONSUMERS = """
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local of = {}
  for i = 1, #consumer, 2 do of[consumer[i]] = consumer[i + 1] end
  if of.pending == 0 and of.idle > tonumber(ARGV[2]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], of.name)
  end
end
"""


@dataclass(frozen=True, slots=True)
class Job:
    """A question that this consumer has been given to answer; `token` is that of its record."""

    entry_id: str
    question_id: str
    token: str


def put(question_id: str, token: str) -> Command:
    """The command that queues a question; `token` is that of its record."""
    return ("XADD", QUEUE_STREAM, "*", "questionId", question_id, "delivery", token)


async def waiting(pipelining: Pipelining) -> int:
    """How many questions no worker has taken yet. Those handed over do not count."""
    queued, taken = await asyncio.gather(pipelining.send("XLEN", QUEUE_STREAM), _taken(pipelining))
    return max(0, int(queued) - taken)


async def _taken(pipelining: Pipelining) -> int:
    try:
        return int((await pipelining.send("XPENDING", QUEUE_STREAM, QUEUE_GROUP))["pending"])
    except ResponseError:  # NOGROUP: there has been no worker yet
        return 0


class WorkQueue:
    """The queue as one consumer, `consumer`, sees it."""

    def __init__(self, storage: Storage, consumer: str) -> None:
        self._redis = storage.commands
        self._pipelining = storage.pipelining
        self._writing = storage.writing
        self._blocking = storage.blocking
        self._consumer = consumer
        self._released: set[str] = set()  # by us; they may be somebody else's by now
        # A renewal that overtakes a release would make it look as if it were in work here.
        self._leases = asyncio.Lock()

    async def create_group(self) -> None:
        """Make sure that the group exists; it starts with the oldest question."""
        try:
            await self._redis.xgroup_create(QUEUE_STREAM, QUEUE_GROUP, id="0", mkstream=True)
        except ResponseError as exc:
            if not str(exc).startswith("BUSYGROUP"):
                raise

    async def take(self, count: int) -> list[Job]:
        """Wait for up to `count` new questions; none come within BLOCK_MS: an empty list.

        What a cancelled call was given stays pending and is claimed later.
        """
        reply = await self._blocking.xreadgroup(
            QUEUE_GROUP, self._consumer, {QUEUE_STREAM: ">"}, count=count, block=BLOCK_MS
        )
        return [job for _, entries in reply for job in _jobs(entries)]

    async def renew(self, entry_ids: list[str]) -> None:
        """Renew the leases of these entries, but for those that were released."""
        async with self._leases:
            if kept := [entry_id for entry_id in entry_ids if entry_id not in self._released]:
                await self._writing.xclaim(
                    QUEUE_STREAM, QUEUE_GROUP, self._consumer, 0, kept, justid=True
                )

    async def claim(self, idle_ms: int, count: int) -> list[Job]:
        """Take over up to `count` entries that nobody has renewed for `idle_ms`."""
        claimed: list[Job] = []
        cursor = "0-0"
        while len(claimed) < count:
            # One call looks at ten entries for each that it may claim, no more:
            # behind so many that are being answered it would never find a lapsed one.
            cursor, entries, *_ = await self._redis.xautoclaim(
                QUEUE_STREAM,
                QUEUE_GROUP,
                self._consumer,
                idle_ms,
                start_id=cursor,
                count=count - len(claimed),
            )
            claimed += _jobs(entries)
            if cursor == "0-0":
                break
        return claimed

    async def release(self, entry_id: str) -> None:
        """Give an entry back for others to claim at once."""
        self._released.add(entry_id)
        async with self._leases:
            await self._redis.xclaim(
                QUEUE_STREAM,
                QUEUE_GROUP,
                self._consumer,
                0,
                [entry_id],
                idle=RELEASED_IDLE_MS,
                justid=True,
            )

    async def finish(self, entry_id: str) -> None:
        """Acknowledge an entry and remove it: the queue holds only what is not done."""
        await self._pipelining.send_together(
            ("XACK", QUEUE_STREAM, QUEUE_GROUP, entry_id), ("XDEL", QUEUE_STREAM, entry_id)
        )

    async def release_all(self) -> None:
        """Give back everything that stands under this consumer's name."""
        pending = await self._redis.xpending_range(
            QUEUE_STREAM,
            QUEUE_GROUP,
            min="-",
            max="+",
            count=RELEASED_AT_ONCE,
            consumername=self._consumer,
        )
        for entry in pending:
            # One that was released may be in work elsewhere by now: to release it
            # again would take it away.
            if entry["message_id"] not in self._released:
                await self.release(entry["message_id"])


async def forget_consumers(redis: Client, idle_ms: int) -> None:
    """Remove consumers that have nothing pending and have not been heard of for so long."""
    if await redis.exists(QUEUE_STREAM):
        await redis.eval(FORGET_CONSUMERS, 1, QUEUE_STREAM, QUEUE_GROUP, idle_ms)


def _jobs(entries: list[Any]) -> list[Job]:
    """Read entries; one without a question id was not put here by us, but is finished by us."""
    return [
        Job(entry_id, fields.get("questionId", ""), fields.get("delivery", ""))
        for entry_id, fields in entries
        if fields is not None  # deleted while pending, as Redis before 7 reports it
    ]
