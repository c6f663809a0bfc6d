"""Reading with consumer groups: what a user has not received stays pending in Redis.

Before an entry is sent to a client, XREADGROUP has put it on the group's list of
pending entries; once the client has received it, XACK takes it off. The words
themselves come from the tail and from history, as in the other mode: so it does not
matter which server an entry was given to, and any number of tabs get all of them.
"""

import asyncio
import logging
import uuid
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from ..protocol.entries import BEGINNING, Entry, entry_order
from ..protocol.errors import Expired
from ..protocol.record import Record
from ..protocol.requests import is_question_id
from ..protocol.stream_names import Streams
from ..runtime.task_groups import Parts
from ..store.connection import STORAGE_ERRORS, Storage, insist
from ..store.consumer_group import ConsumerGroup
from ..store.records import Questions
from ..store.stream_tail import newest_id
from .delivery import SENT_IS_DONE, Handout, Receipt

SETTLES_PER_LEASE = 2  # looks for entries that nobody is going to receive any more
LOOKS_AFTERWARDS = 3  # once a user's last reader has left: what it left is then old enough

MOST_PASSED = 10_000  # questions whose readers' places are remembered; it is but tidiness

logger = logging.getLogger(__name__)


class AcknowledgedDelivery:
    """The mode of consumer groups, for all users of one server.

    Streams begin with `base`, and expire `keep_s` after the last answer. What was
    pending for half of `lease_s` is looked at, under whichever consumer's name.
    """

    def __init__(
        self, storage: Storage, questions: Questions, *, base: str, keep_s: float, lease_s: float
    ) -> None:
        self._storage = storage
        self._questions = questions
        self._base = base
        self._streams = Streams(f"{base}:{{userId}}")
        self._ttl_s = max(1, round(keep_s))
        self._settle_s = lease_s / SETTLES_PER_LEASE
        self._groups: dict[str, ConsumerGroup] = {}  # by stream, of users who read or just did
        self._readers: Counter[str] = Counter()  # by stream
        self._looks_left: Counter[str] = Counter()  # by stream, once nobody reads it
        self._passed: OrderedDict[str, str] = OrderedDict()  # by question: received up to here
        self._received: dict[ConsumerGroup, list[str]] = {}
        self._wake = asyncio.Event()

    def new_question_id(self) -> str:
        """An id as the original makes them in this mode."""
        return f"Q-{uuid.uuid4()}"

    def stream(self, question_id: str, user_id: str) -> str:
        """The user's stream."""
        return self._streams.name(question_id, user_id)

    async def prepare(self, stream: str) -> str:
        """Make sure that the user's group exists, and find the end of the stream."""
        group = self._group(stream.removeprefix(f"{self._base}:"))
        _, newest = await asyncio.gather(group.create(), newest_id(self._storage, stream))
        return newest

    @asynccontextmanager
    async def handout(
        self, record: Record, user_id: str, after: str | None
    ) -> AsyncIterator[Handout]:
        """Hand out with account; but not what belongs to another user, or to the other mode."""
        stream = self._streams.name(record.question_id, user_id)
        if record.stream != stream:
            yield SENT_IS_DONE
            return
        group = self._groups.setdefault(stream, self._group(user_id))
        self._readers[stream] += 1
        try:
            if after:  # who reads on behind an entry has received what stands before it
                self._passed[record.question_id] = max(
                    after, self._passed.get(record.question_id, after), key=entry_order
                )
                self._passed.move_to_end(record.question_id)
                if len(self._passed) > MOST_PASSED:
                    self._passed.popitem(last=False)
            # Of a question that had not begun when it was looked up, nobody has anything.
            given_before = await insist(group.last_delivered) if record.attempt else BEGINNING
            yield _Handout(group, given_before, partial(self._note, group))
        finally:
            self._readers[stream] -= 1
            self._looks_left[stream] = LOOKS_AFTERWARDS

    async def run(self) -> None:
        """Acknowledge what was received, and settle what nobody will receive, until cancelled."""
        async with Parts(self._acknowledge, self._settle_again_and_again) as parts:
            await parts.fault()

    def _group(self, user_id: str) -> ConsumerGroup:
        return ConsumerGroup(self._storage, self._base, user_id, self._ttl_s)

    def _note(self, group: ConsumerGroup, entry_ids: list[str]) -> None:
        if entry_ids:
            self._received.setdefault(group, []).extend(entry_ids)
            self._wake.set()

    async def _acknowledge(self) -> None:
        """What clients receive while Redis is away is acknowledged when it is back."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            received, self._received = self._received, {}
            await asyncio.gather(
                *(insist(partial(group.acknowledge, ids)) for group, ids in received.items())
            )

    async def _settle_again_and_again(self) -> None:
        """Look after the groups of those who read, and for a while after the last has left."""
        while True:
            await asyncio.sleep(self._settle_s)
            for stream, group in list(self._groups.items()):
                try:
                    await self._settle(group)
                except STORAGE_ERRORS as exc:
                    logger.debug("not settled (%s)", type(exc).__name__)
                    continue
                self._looks_left[stream] -= 1
                if not self._readers[stream] and self._looks_left[stream] <= 0:
                    del self._groups[stream], self._readers[stream], self._looks_left[stream]

    async def _settle(self, group: ConsumerGroup) -> None:
        """Take off the list what no client is going to be sent.

        These are entries that the fold leaves out, such as those of a worker that was
        frozen, what other programs wrote to the stream, and what a client has received
        without our hearing of it: it read on behind that.
        """
        claimed = await group.claim(round(self._settle_s * 1000))
        for question_id, entry_ids in claimed.items():
            if await self._is_over(group, question_id):
                self._note(group, entry_ids)
            elif passed := self._passed.get(question_id):
                place = entry_order(passed)
                self._note(group, [each for each in entry_ids if entry_order(each) <= place])

    async def _is_over(self, group: ConsumerGroup, question_id: str) -> bool:
        """Whether the END of an answer was received, or it can never be."""
        if not is_question_id(question_id):
            return True
        try:
            record = await self._questions.read(question_id)
        except Expired:
            return True
        return record.ended and await group.is_acknowledged(record.end_id)


class _Handout:
    """An answer on its way to one client, with account kept in the group of the user."""

    def __init__(
        self, group: ConsumerGroup, given_before: str, note: Callable[[list[str]], None]
    ) -> None:
        self._group = group
        self._given_before = entry_order(given_before)
        self._note = note

    async def deliver(self, entry: Entry) -> Receipt:
        """Make an entry pending, unless the user has received it long ago."""
        await self._group.deliver(entry.id)
        redelivered = entry_order(entry.id) <= self._given_before
        return Receipt(redelivered, partial(self._note, [entry.id]))
