"""The groups of a server's users: nothing is acknowledged before a client has received it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest

from backend.protocol.entries import BEGINNING
from backend.protocol.record import Record
from backend.protocol.requests import EVERYBODY
from backend.server.consumer_groups.user_groups import SWEEPS_PER_LEASE, GroupReader, UserGroups
from backend.store.connection import Storage
from backend.store.records import Records
from backend.store.work_queue import put
from tests.fakes.rig import DONE, PATIENCE_S, in_background, new_ask, whole_answer

pytestmark = pytest.mark.usefixtures("shared_redis")  # it has to start outside of an event loop

STREAM = "OPENAI_STREAM:ann"
GROUP = "OPENAI_STREAM_Grp_ann"
LEASE_S = 0.02 * SWEEPS_PER_LEASE


@dataclass
class Reading:
    """What one client was delivered, and which of it was marked as redelivered."""

    reader: GroupReader
    ids: list[str]
    redelivered: list[bool]

    def receive(self, count: int | None = None) -> None:
        """Let the client have the first entries that it has not received, or all."""
        received, self.ids = self.ids[:count], self.ids[len(self.ids[:count]) :]
        self.reader.received(*received)


class Site:
    """The groups of one server, and a user's stream that a worker writes to."""

    def __init__(self, storage: Storage) -> None:
        self.redis = storage.commands
        self.questions = Records(storage, 60)
        self.groups = UserGroups(
            storage, self.questions, base="OPENAI_STREAM", keep_s=60, lease_s=LEASE_S
        )

    async def answered(self, *pieces: str) -> tuple[Record, list[str]]:
        """A question of Ann's with its whole answer; returns the ids of the entries."""
        ask = new_ask()
        record = Record.queued(ask, STREAM, BEGINNING, "token", "ann")
        await self.questions.create(record, put(ask.question_id, "token"))
        ids = [
            await self.redis.xadd(STREAM, entry.fields())
            for entry in whole_answer(ask.question_id, *pieces)
        ]
        await self.questions.change(ask.question_id, lambda now: now.begun("worker", None))
        closed = await self.questions.change(
            ask.question_id, lambda now: now.closed("worker", DONE, ids[0], ids[-1])
        )
        return closed, ids

    async def read(self, record: Record, ids: list[str], after: str | None = None) -> "Reading":
        """Deliver these entries to a client of Ann's; none is received yet."""
        async with self.groups.reader(record, "ann", after) as reader:
            return Reading(reader, ids, [await reader.deliver(entry_id) for entry_id in ids])

    async def pending(self) -> list[str]:
        """What Ann has not received."""
        rows = await self.redis.xpending_range(STREAM, GROUP, "-", "+", 10_000)
        return [row["message_id"] for row in rows]

    async def becomes_pending(self, ids: list[str]) -> None:
        """Wait until exactly these entries are pending."""
        async with asyncio.timeout(PATIENCE_S):
            while await self.pending() != ids:  # noqa: ASYNC110  Redis tells nobody
                await asyncio.sleep(0)


@pytest.fixture
async def site(storage: Storage) -> AsyncIterator[Site]:
    """Groups at work."""
    site = Site(storage)
    async with in_background(site.groups.run()):
        yield site


async def test_an_entry_is_pending_until_it_is_received(site: Site) -> None:
    """Delivered entries stand in the group until the client has them, one by one."""
    record, ids = await site.answered("a", "b")
    reading = await site.read(record, ids)
    assert await site.pending() == ids
    reading.receive(2)
    await site.becomes_pending(ids[2:])
    reading.receive()
    await site.becomes_pending([])


async def test_what_is_read_again_is_marked(site: Site) -> None:
    """The first reading is none of a second time, the next one is, received or not."""
    record, ids = await site.answered("a", "b")
    first = await site.read(record, ids)
    first.receive(2)
    again = await site.read(record, ids)
    assert first.redelivered == [False] * 4
    assert again.redelivered == [True] * 4


async def test_to_read_on_acknowledges_what_stands_before(site: Site) -> None:
    """A client that names its cursor has received everything up to there."""
    record, ids = await site.answered("a", "b")
    await site.read(record, ids)
    await site.read(record, ids, after=ids[1])
    await site.becomes_pending(ids[2:])


async def test_what_nobody_will_be_sent_is_swept(site: Site) -> None:
    """Once the END was received, late entries of the same question do not stay pending."""
    record, ids = await site.answered("a")
    (await site.read(record, ids)).receive()
    late = await site.redis.xadd(STREAM, whole_answer(record.question_id, "a")[1].fields())
    odd = await site.redis.xadd(STREAM, {"note": "of another program"})
    unread, unread_ids = await site.answered("b")
    await site.read(unread, unread_ids)
    assert {late, odd} < set(await site.pending())
    await site.becomes_pending(unread_ids)


async def test_groups_of_those_who_left_are_forgotten(site: Site) -> None:
    """A server does not look after a user's group for ever; what is pending stays in Redis."""
    record, ids = await site.answered("a")
    await site.read(record, ids)
    async with asyncio.timeout(PATIENCE_S):
        while site.groups._groups:  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(0)
    assert await site.pending() == ids


async def test_answers_of_others_are_no_part_of_a_group(site: Site) -> None:
    """Another user's answer, and one of the other mode, are read without the reader's group."""
    record, _ = await site.answered("a")
    assert site.groups.has(record, "ann")
    assert not site.groups.has(record, EVERYBODY)
    assert not site.groups.has(replace(record, stream="OPENAI_STREAM"), "ann")


async def test_a_stream_is_prepared(site: Site) -> None:
    """Before the first question the group is there, and answers come after what is known."""
    assert await site.groups.prepare(STREAM) == BEGINNING
    (group,) = await site.redis.xinfo_groups(STREAM)
    assert group["name"] == GROUP
    _, ids = await site.answered("a")
    assert await site.groups.prepare(STREAM) == ids[-1]
