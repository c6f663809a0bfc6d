"""How much anybody may ask: who is over a limit is refused at once, and told when to come again.

What is counted for all servers together is counted in Redis, by one small script per
subject, so that it works wherever the key is. Sockets are counted by each server.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from ..protocol.errors import Busy, RateLimited
from ..settings import Settings
from ..store import work_queue
from ..store.connection import Storage, answering_within
from ..store.records import Questions
from .auth import Visitor

TIMEOUT_S = 1.8  # Redis is given so long to count
QUEUE_RETRY_S = 5  # hint for who finds the queue full
RUNNING_RETRY_S = 5
SOCKETS_RETRY_S = 10

# The generic cell rate algorithm, a token bucket that is one number: the time at which the
# bucket will be full again, in microseconds. ARGV: microseconds a token, tokens a bucket.
# Returns the microseconds until a token is there; 0: one was taken.
FILL_BUCKET = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now) + ARGV[1]
local wait = full_at - now - ARGV[1] * ARGV[2]
if wait > 0 then return math.ceil(wait) end
local ttl_ms = math.ceil((full_at - now) / 1000)
redis.call('SET', KEYS[1], string.format('%.0f', full_at), 'PX', ttl_ms)
return 0
"""

# Members are questions, scores the Redis times at which they have ended for certain, in
# seconds. ARGV: a question, for how long it may run, how many may. Returns the questions
# that run, where that is one too many; else adds this one and returns none.
START_RUNNING = """
local now = tonumber(redis.call('TIME')[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3])
then return redis.call('ZRANGE', KEYS[1], 0, -1) end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return {}
"""


@dataclass(frozen=True, slots=True)
class _Subject:
    """Somebody whose questions are counted, and how many of them may run at once."""

    name: str
    limit: str
    most_running: int


class AskLimits:
    """The limits on questions, shared by all servers. A limit of 0 is none."""

    def __init__(self, storage: Storage, questions: Questions, settings: Settings) -> None:
        self._pipelining = storage.pipelining
        self._questions = questions
        self._settings = settings

    async def admit(self, visitor: Visitor, question_id: str) -> None:
        """Count a question of a visitor; raises RateLimited or Busy, with a hint when to retry.

        Asking with the same id again counts as an ask, but not as one more that runs.
        Raises StorageUnavailable where Redis does not answer in time.
        """
        subjects = list(self._subjects(visitor))
        async with answering_within(TIMEOUT_S):
            await asyncio.gather(
                self._require_room_in_queue(), *(self._take_token(each) for each in subjects)
            )
            await asyncio.gather(*(self._start_running(each, question_id) for each in subjects))

    def _subjects(self, visitor: Visitor) -> Iterator[_Subject]:
        settings = self._settings
        if visitor.verified:  # a name that anybody can take is nobody's to count by
            yield _Subject(
                f"user:{visitor.user_id}", "max_running_per_user", settings.max_running_per_user
            )
        yield _Subject(
            f"address:{visitor.address}",
            "max_running_per_address",
            settings.max_running_per_address,
        )

    async def _require_room_in_queue(self) -> None:
        if not self._settings.max_queued:
            return
        if await work_queue.waiting(self._pipelining) >= self._settings.max_queued:
            raise Busy(
                "Too many questions are waiting.",
                retry_after_s=QUEUE_RETRY_S,
                limit="max_queued",
            )

    async def _take_token(self, subject: _Subject) -> None:
        a_minute = self._settings.asks_per_minute
        if not a_minute:
            return
        key = f"OPENAI_LIMITS:asks:{subject.name}"
        wait_us = await self._pipelining.send(
            "EVAL", FILL_BUCKET, 1, key, round(60_000_000 / a_minute), a_minute
        )
        if wait_us:
            wait_s = max(1, math.ceil(int(wait_us) / 1_000_000))
            raise RateLimited(retry_after_s=wait_s, limit="asks_per_minute")

    async def _start_running(self, subject: _Subject, question_id: str) -> None:
        if not subject.most_running:
            return
        key = f"OPENAI_LIMITS:running:{subject.name}"
        longest_s = max(1, round(self._settings.retention_s))
        start = ("EVAL", START_RUNNING, 1, key, question_id, longest_s, subject.most_running)
        running = await self._pipelining.send(*start)
        if running and await self._forget_ended(key, running):
            running = await self._pipelining.send(*start)
        if running:
            raise Busy(
                "Too many of your questions are running.",
                retry_after_s=RUNNING_RETRY_S,
                limit=subject.limit,
            )

    async def _forget_ended(self, key: str, question_ids: list[str]) -> int:
        """Look which of these have ended: nobody has to tell us, however they did."""
        records = await self._questions.read_many(question_ids)
        ended = [
            question_id
            for question_id, record in zip(question_ids, records, strict=True)
            if record is None or record.ended
        ]
        if ended:
            await self._pipelining.send("ZREM", key, *ended)
        return len(ended)


class SocketLimits:
    """How many sockets one server holds, in all and for each address."""

    def __init__(self, settings: Settings) -> None:
        self._most = settings.max_sockets
        self._most_per_address = settings.max_sockets_per_address
        self._count = 0
        self._addresses: Counter[str] = Counter()

    def add(self, address: str) -> None:
        """Count one more; raises Busy where that is one too many, and counts nothing then."""
        if self._most and self._count >= self._most:
            raise Busy(
                "Too many people are connected.", retry_after_s=SOCKETS_RETRY_S, limit="max_sockets"
            )
        if self._most_per_address and self._addresses[address] >= self._most_per_address:
            raise Busy(
                "Too many connections from this address.",
                retry_after_s=SOCKETS_RETRY_S,
                limit="max_sockets_per_address",
            )
        self._count += 1
        self._addresses[address] += 1

    def remove(self, address: str) -> None:
        """Count one less."""
        self._count -= 1
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]
