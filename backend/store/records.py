"""The records of questions in Redis, changed one at a time by compare-and-set."""

import asyncio
from collections.abc import Callable, Iterable

from ..protocol.errors import Expired, StorageUnavailable
from ..protocol.record import Record
from .connection import Storage, expecting_ours
from .pipelining import Command

CAS_TRIES = 32  # a record has two or three writers in its life; more collisions mean a fault

# EVAL, not EVALSHA: so short a script costs less to send than a script cache to mind.
COMPARE_AND_SET = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
"""

# The queue's entry first: should it fail, there is no record of a question that nobody answers.
# Returns nothing where another program has taken the record's key.
CREATE = """
local earlier = redis.pcall('GET', KEYS[1])
if earlier then return type(earlier) == 'string' and earlier end
redis.call(ARGV[3], KEYS[2], unpack(ARGV, 4))
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return ARGV[1]
"""


def question_key(question_id: str) -> str:
    """The key of a question's record, as in the Node original."""
    return f"questions:{question_id}"


class Records:
    """Reads and changes records. Every key expires `retention_s` after its last change.

    One record is one key, so that a change is one compare-and-set.
    """

    def __init__(self, storage: Storage, retention_s: float) -> None:
        self._pipelining = storage.pipelining
        self._ttl_s = max(1, round(retention_s))

    async def ping(self) -> None:
        """Return if Redis answers."""
        await self._pipelining.send("PING")

    async def read(self, question_id: str) -> Record:
        """The record as it is now; raises Expired where there is none."""
        record, _ = await self._get(question_id)
        return record

    async def read_many(self, question_ids: Iterable[str]) -> list[Record | None]:
        """The records in this order, in one round trip; None where there is none."""
        return await asyncio.gather(*map(self._read_or_none, question_ids))

    async def create(self, record: Record, enqueue: Command) -> Record:
        """Store a new record and queue its question, in one step and one round trip.

        Returns the record that stands under this id afterwards: the given
        one, or an earlier one, whose question is not queued again.
        """
        key, name, queue, *rest = question_key(record.question_id), *enqueue
        raw: str | None = await self._pipelining.send(
            "EVAL", CREATE, 2, key, queue, record.to_json(), self._ttl_s, name, *rest
        )
        return _parse(raw, record.question_id)

    async def change(self, question_id: str, transition: Callable[[Record], Record]) -> Record:
        """Apply a transition to the record as it is now and return what stands then.

        A transition that returns its argument writes nothing. Raises Expired
        where there is no record. May be applied again after a lost reply, so
        transitions are written to be repeatable.
        """
        key = question_key(question_id)
        for _ in range(CAS_TRIES):
            before, raw = await self._get(question_id)
            after = transition(before)
            if after is before:
                return before
            if await self._pipelining.send(
                "EVAL", COMPARE_AND_SET, 1, key, raw, after.to_json(), self._ttl_s
            ):
                return after
        raise StorageUnavailable

    async def _get(self, question_id: str) -> tuple[Record, str]:
        with expecting_ours():
            raw: str = await self._pipelining.send("GET", question_key(question_id))
        return _parse(raw, question_id), raw

    async def _read_or_none(self, question_id: str) -> Record | None:
        try:
            return await self.read(question_id)
        except Expired:
            return None


def _parse(raw: str | None, question_id: str) -> Record:
    record = Record.from_json(raw) if raw is not None else None
    if record is None or record.question_id != question_id:
        raise Expired
    return record
