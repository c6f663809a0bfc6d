"""The consumer group of one user: what is pending, what was acknowledged, and what is left."""

import pytest

from backend.protocol.entries import Entry
from backend.protocol.requests import new_question_id
from backend.store.connection import Storage
from backend.store.consumer_group import CLAIM_COUNT, CLAIMS, READ_COUNT, ConsumerGroup
from tests.fakes.rig import whole_answer

pytestmark = pytest.mark.usefixtures("shared_redis")  # it has to start outside of an event loop

TTL_S = 60


@pytest.fixture
def group(storage: Storage) -> ConsumerGroup:
    """Ann's group, which nobody has created yet."""
    return ConsumerGroup(storage, "OPENAI_STREAM", "ann", TTL_S)


async def write(storage: Storage, group: ConsumerGroup, *entries: Entry) -> list[str]:
    """Append entries to the user's stream; returns their ids."""
    return [await storage.commands.xadd(group.stream, entry.fields()) for entry in entries]


async def pending(storage: Storage, group: ConsumerGroup) -> list[str]:
    """What waits to be acknowledged."""
    rows = await storage.commands.xpending_range(group.stream, group.name, "-", "+", 10_000)
    return [row["message_id"] for row in rows]


async def test_it_is_created_once_and_expires(storage: Storage, group: ConsumerGroup) -> None:
    """Creating it again changes nothing; a stream that nobody writes to does not stay."""
    await group.create()
    await storage.commands.expire(group.stream, 10)
    await group.create()
    assert await storage.commands.ttl(group.stream) <= 10
    (info,) = await storage.commands.xinfo_groups(group.stream)
    assert info["name"] == "OPENAI_STREAM_Grp_ann"


async def test_what_is_delivered_is_pending(storage: Storage, group: ConsumerGroup) -> None:
    """With an entry all that stands before it becomes pending, under the consumer's name."""
    await group.create()
    ids = await write(storage, group, *whole_answer("q", "a", "b"))
    await group.deliver(ids[1])
    assert set(await pending(storage, group)) >= set(ids[:2])
    await group.deliver(ids[-1])
    assert await pending(storage, group) == ids
    (row, *_) = await storage.commands.xpending_range(group.stream, group.name, "-", "+", 1)
    assert row["consumer"] == "OPENAI_STREAM_Con_ann"


async def test_what_was_acknowledged_does_not_come_back(
    storage: Storage, group: ConsumerGroup
) -> None:
    """Delivering again, here or on another server, makes nothing pending a second time."""
    await group.create()
    ids = await write(storage, group, *whole_answer("q", "a"))
    await group.deliver(ids[-1])
    await group.acknowledge(ids)
    await group.deliver(ids[0])
    await ConsumerGroup(storage, "OPENAI_STREAM", "ann", TTL_S).deliver(ids[-1])
    assert await pending(storage, group) == []


async def test_a_long_answer_is_delivered_whole(storage: Storage, group: ConsumerGroup) -> None:
    """More than one command takes becomes pending as well."""
    await group.create()
    async with storage.commands.pipeline(transaction=False) as pipe:
        for number in range(READ_COUNT + 5):
            pipe.xadd(group.stream, Entry("q", "a", 1, number).fields())
        ids = await pipe.execute()
    await group.deliver(ids[-1])
    assert await pending(storage, group) == ids


async def test_a_redis_that_was_emptied(storage: Storage, group: ConsumerGroup) -> None:
    """Where the group has gone with everything else, it is made again."""
    await group.create()
    await group.deliver((await write(storage, group, Entry.start("q", 1)))[0])
    await storage.commands.flushall()
    ids = await write(storage, group, *whole_answer("r", "a"))
    await group.deliver(ids[-1])
    assert await pending(storage, group) == ids


async def test_an_acknowledged_entry_is_told_from_one_that_never_came(
    storage: Storage, group: ConsumerGroup
) -> None:
    """What was not given to the group yet is not acknowledged, nor is what is pending."""
    await group.create()
    first, second = await write(storage, group, Entry.start("q", 1), Entry("q", "a", 1, 1))
    assert not await group.is_acknowledged(first)
    await group.deliver(second)
    assert not await group.is_acknowledged(first)
    await group.acknowledge([first])
    assert await group.is_acknowledged(first)


async def test_what_others_left_is_claimed(storage: Storage, group: ConsumerGroup) -> None:
    """Entries of a consumer that vanished are ours then, sorted by question; trimmed ones go."""
    await group.create()
    question_id = new_question_id()
    ids = await write(storage, group, *whole_answer(question_id, "a"), Entry("", "odd", 1, 1))
    await storage.commands.xreadgroup(group.name, "vanished", {group.stream: ">"})
    await storage.commands.xdel(group.stream, ids[0])
    claimed = await group.claim(0)
    assert claimed == {question_id: ids[1:3], "": ids[3:]}
    assert await pending(storage, group) == ids[1:]
    assert await group.claim(60_000) == {}


async def test_a_claim_goes_on_where_the_last_one_ended(
    storage: Storage, group: ConsumerGroup
) -> None:
    """However much is pending, every entry is claimed in its turn."""
    await group.create()
    async with storage.commands.pipeline(transaction=False) as pipe:
        for number in range(CLAIMS * CLAIM_COUNT + 5):
            pipe.xadd(group.stream, Entry("q", "a", 1, number).fields())
        ids = await pipe.execute()
    await group.deliver(ids[-1])
    claimed: set[str] = set()
    for _ in range(3):
        claimed |= set((await group.claim(0)).get("q", []))
    assert claimed == set(ids)
