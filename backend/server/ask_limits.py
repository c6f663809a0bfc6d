"""Rate limits and quotas: whoever is over one is refused at once, and told when to retry.

Questions are counted in Redis, for all servers together. Sockets are counted by each server.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from ..protocol.errors import Busy, RateLimited
from ..settings import Settings
from ..store import rate_limits, work_queue
from ..store.connection import Storage, answering_within
from ..store.records import Records
from .auth import Visitor

TIMEOUT_S = 1.8  # Redis is given so long to count
QUEUE_RETRY_S = 5  # hints when to retry, where we cannot know
RUNNING_RETRY_S = 5
SOCKETS_RETRY_S = 10


@dataclass(frozen=True, slots=True)
class _Subject:
    """Somebody whose questions are counted, and how many of them may run at once."""

    name: str
    limit: str
    max_running: int


class AskLimits:
    """The limits on questions, shared by all servers. A limit of 0 is none."""

    def __init__(self, storage: Storage, questions: Records, settings: Settings) -> None:
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
            await asyncio.gather(*(self._count_running(each, question_id) for each in subjects))

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
        wait_s = await rate_limits.take_token(self._pipelining, subject.name, a_minute)
        if wait_s:
            raise RateLimited(retry_after_s=math.ceil(wait_s), limit="asks_per_minute")

    async def _count_running(self, subject: _Subject, question_id: str) -> None:
        if not subject.max_running:
            return
        add = partial(
            rate_limits.add_running,
            self._pipelining,
            subject.name,
            question_id,
            max_running=subject.max_running,
            longest_s=max(1, round(self._settings.retention_s)),
        )
        running = await add()
        if running and await self._remove_ended(subject, running):
            running = await add()
        if running:
            raise Busy(
                "Too many of your questions are running.",
                retry_after_s=RUNNING_RETRY_S,
                limit=subject.limit,
            )

    async def _remove_ended(self, subject: _Subject, question_ids: list[str]) -> bool:
        """Look which of these have ended, however they did: nobody tells us when one does."""
        records = await self._questions.read_many(question_ids)
        ended = [
            question_id
            for question_id, record in zip(question_ids, records, strict=True)
            if record is None or record.ended
        ]
        if ended:
            await rate_limits.remove_running(self._pipelining, subject.name, ended)
        return bool(ended)


class SocketLimits:
    """How many sockets one server holds, in all and for each address."""

    def __init__(self, settings: Settings) -> None:
        self._max = settings.max_sockets
        self._max_per_address = settings.max_sockets_per_address
        self._count = 0
        self._addresses: Counter[str] = Counter()

    def add(self, address: str) -> None:
        """Count one more; raises Busy where that is one too many, and counts nothing then."""
        if self._max and self._count >= self._max:
            raise Busy(
                "Too many people are connected.", retry_after_s=SOCKETS_RETRY_S, limit="max_sockets"
            )
        if self._max_per_address and self._addresses[address] >= self._max_per_address:
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
