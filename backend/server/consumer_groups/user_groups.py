"""The consumer groups of a server's users: what is read, acknowledged, and swept.

At-least-once: what was pending when a client, a server or Redis failed stays pending, and is
marked as redelivered when it is read again.
"""

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

from ...protocol.entries import BEGINNING, entry_order
from ...protocol.errors import Expired
from ...protocol.record import Record
from ...protocol.requests import is_question_id
from ...protocol.stream_names import StreamNames
from ...runtime.background_tasks import BackgroundTasks
from ...store.connection import STORAGE_ERRORS, Storage, insist
from ...store.consumer_group import ConsumerGroup
from ...store.records import Records
from ...store.stream_tail import newest_id

SWEEPS_PER_LEASE = 2
SWEEPS_AFTER_READERS = 3  # once a user's last reader has left: what it left is old enough then

MAX_CURSORS = 10_000  # questions whose cursors are remembered; without one a sweep waits longer

logger = logging.getLogger(__name__)


class UserGroups:
    """The groups of all users of one server.

    The stream of a user is `<base>:<userId>`, and expires `keep_s` after the last answer.
    What was pending for half of `lease_s` is swept, under whichever consumer's name.
    """

    def __init__(
        self, storage: Storage, questions: Records, *, base: str, keep_s: float, lease_s: float
    ) -> None:
        self._storage = storage
        self._questions = questions
        self._base = base
        self._streams = StreamNames(f"{base}:{{userId}}")
        self._ttl_s = max(1, round(keep_s))
        self._sweep_s = lease_s / SWEEPS_PER_LEASE
        self._groups: dict[str, ConsumerGroup] = {}  # by stream, of users who read or just did
        self._readers: Counter[str] = Counter()  # by stream
        self._sweeps_left: Counter[str] = Counter()  # by stream, once nobody reads it
        self._cursors: OrderedDict[str, str] = OrderedDict()  # by question: received up to here
        self._received: dict[ConsumerGroup, list[str]] = {}  # to be acknowledged
        self._has_received = asyncio.Event()

    async def prepare(self, stream: str) -> str:
        """Make sure that the stream's group exists; returns the id of the newest entry."""
        group = self._group(stream.removeprefix(f"{self._base}:"))
        _, newest = await asyncio.gather(group.create(), newest_id(self._storage, stream))
        return newest

    def has(self, record: Record, user_id: str) -> bool:
        """Whether an answer stands in this user's stream: not in another's, or in one for all."""
        return record.stream == self._streams.name(record.question_id, user_id)

    @asynccontextmanager
    async def reader(
        self, record: Record, user_id: str, after: str | None = None
    ) -> AsyncIterator["GroupReader"]:
        """Let a client of a user read an answer of theirs; it has all that is up to `after`."""
        stream = record.stream
        group = self._groups.setdefault(stream, self._group(user_id))
        self._readers[stream] += 1
        try:
            if after:
                self._remember_cursor(record.question_id, after)
            # Of a question that had not started when it was looked up, nobody has anything.
            delivered = await insist(group.last_delivered) if record.attempt else BEGINNING
            yield GroupReader(group, delivered, partial(self._add_received, group))
        finally:
            self._readers[stream] -= 1
            self._sweeps_left[stream] = SWEEPS_AFTER_READERS

    async def run(self) -> None:
        """Acknowledge what was received, and sweep what nobody will receive, until cancelled."""
        async with BackgroundTasks(self._acknowledge, self._sweep_periodically) as tasks:
            await tasks.first_failure()

    def _group(self, user_id: str) -> ConsumerGroup:
        return ConsumerGroup(self._storage, self._base, user_id, self._ttl_s)

    def _remember_cursor(self, question_id: str, cursor: str) -> None:
        """A client that resumes behind an entry has received what stands before it."""
        newest = max(cursor, self._cursors.get(question_id, cursor), key=entry_order)
        self._cursors[question_id] = newest
        self._cursors.move_to_end(question_id)
        if len(self._cursors) > MAX_CURSORS:
            self._cursors.popitem(last=False)

    def _add_received(self, group: ConsumerGroup, entry_ids: Sequence[str]) -> None:
        if entry_ids:
            self._received.setdefault(group, []).extend(entry_ids)
            self._has_received.set()

    async def _acknowledge(self) -> None:
        """What clients receive during an outage of Redis is acknowledged after it."""
        while True:
            await self._has_received.wait()
            self._has_received.clear()
            batch, self._received = self._received, {}
            await asyncio.gather(
                *(insist(partial(group.acknowledge, ids)) for group, ids in batch.items())
            )

    async def _sweep_periodically(self) -> None:
        """Sweep the groups of those who read, and for a while after the last has left."""
        while True:
            await asyncio.sleep(self._sweep_s)
            for stream, group in list(self._groups.items()):
                try:
                    await self._sweep(group)
                except STORAGE_ERRORS as exc:
                    logger.debug("not swept (%s)", type(exc).__name__)
                    continue
                self._sweeps_left[stream] -= 1
                if not self._readers[stream] and self._sweeps_left[stream] <= 0:
                    del self._groups[stream], self._readers[stream], self._sweeps_left[stream]

    async def _sweep(self, group: ConsumerGroup) -> None:
        """Acknowledge what no client is going to be sent.

        These are entries that the fold ignores, such as those of a worker that was
        frozen, what other programs wrote to the stream, and what a client has received
        whose acknowledgement was lost: it has resumed behind that.
        """
        claimed = await group.claim(round(self._sweep_s * 1000))
        for question_id, entry_ids in claimed.items():
            if await self._is_over(group, question_id):
                self._add_received(group, entry_ids)
            elif cursor := self._cursors.get(question_id):
                up_to = entry_order(cursor)
                self._add_received(
                    group, [each for each in entry_ids if entry_order(each) <= up_to]
                )

    async def _is_over(self, group: ConsumerGroup, question_id: str) -> bool:
        """Whether the END of an answer was acknowledged, or it can never be."""
        if not is_question_id(question_id):
            return True
        try:
            record = await self._questions.read(question_id)
        except Expired:
            return True
        return record.ended and await group.is_acknowledged(record.end_id)


class GroupReader:
    """One client that reads an answer through its user's group."""

    def __init__(
        self, group: ConsumerGroup, last_delivered: str, received: Callable[[list[str]], None]
    ) -> None:
        self._group = group
        self._delivered_before = entry_order(last_delivered)
        self._received = received

    async def deliver(self, entry_id: str) -> bool:
        """Make an entry pending, unless it was acknowledged; it may be sent on return.

        Returns whether it is redelivered: some client of the user may have it already.
        """
        await self._group.deliver(entry_id)
        return entry_order(entry_id) <= self._delivered_before

    def received(self, *entry_ids: str) -> None:
        """Have entries acknowledged, with the next batch: the client has received them."""
        self._received(list(entry_ids))
