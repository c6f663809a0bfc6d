"""The Redis that --demo embeds: it waits where fakeredis would spin."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from backend.runtime.background_tasks import cancel
from backend.store.connection import Client, Storage
from backend.store.embedded_redis import embedded_redis
from tests.fakes.rig import PATIENCE_S, is_quiet

LONG_MS = 60_000  # longer than a test may take


@pytest.fixture
async def demo() -> AsyncIterator[Storage]:
    """An embedded Redis with a stream and a group."""
    async with embedded_redis() as storage:
        await storage.commands.xgroup_create("stream", "group", id="0", mkstream=True)
        yield storage


def read_group(client: Client, consumer: str, block: int) -> asyncio.Task[Any]:
    """A consumer that begins to wait."""
    return asyncio.create_task(
        client.xreadgroup("group", consumer, {"stream": ">"}, count=1, block=block)
    )


async def test_the_clients_share_one_redis() -> None:
    """What one client writes, the others read."""
    async with embedded_redis() as storage:
        await storage.commands.set("key", "value")
        assert await storage.writing.get("key") == await storage.blocking.get("key") == "value"


async def test_every_embedded_redis_is_one_of_its_own() -> None:
    """Two demos in one process do not see each other; the address is ignored."""
    async with embedded_redis("redis://x") as one, embedded_redis("redis://x") as other:
        await one.commands.set("key", "value")
        assert await other.commands.get("key") is None


async def test_reading_for_a_consumer_waits(demo: Storage) -> None:
    """A read that finds nothing takes as long as it may, so that a worker does not spin."""
    began = time.monotonic()
    assert await demo.blocking.xreadgroup("group", "one", {"stream": ">"}, block=100) == []
    assert time.monotonic() - began >= 0.09


async def test_reading_for_a_consumer_finds_what_is_there(demo: Storage) -> None:
    """What was written before the read is given at once."""
    entry_id = await demo.commands.xadd("stream", {"text": "early"})
    async with asyncio.timeout(1):
        reply = await read_group(demo.blocking, "one", LONG_MS)
    assert reply == [["stream", [(entry_id, {"text": "early"})]]]


async def test_a_waiting_consumer_is_woken_at_once(demo: Storage) -> None:
    """A write ends the wait, long before its time is over."""
    task = read_group(demo.blocking, "one", LONG_MS)
    assert await is_quiet(task)
    entry_id = await demo.commands.xadd("stream", {"text": "now"})
    async with asyncio.timeout(1):
        assert await task == [["stream", [(entry_id, {"text": "now"})]]]


async def test_two_waiting_consumers_are_woken(demo: Storage) -> None:
    """Two entries for two consumers: each gets one of them."""
    tasks = [read_group(demo.blocking, name, LONG_MS) for name in ("one", "other")]
    assert [await is_quiet(task) for task in tasks] == [True, True]
    async with demo.commands.pipeline(transaction=True) as pipe:
        pipe.xadd("stream", {"text": "a"})
        pipe.xadd("stream", {"text": "b"})
        written = await pipe.execute()
    async with asyncio.timeout(PATIENCE_S):
        replies = await asyncio.gather(*tasks)
    assert sorted(entries[0][0] for ((_, entries),) in replies) == written


async def test_one_entry_goes_to_one_of_two_consumers(demo: Storage) -> None:
    """Nobody gets an entry twice, though both consumers waited for it."""
    tasks = [read_group(demo.blocking, name, LONG_MS) for name in ("one", "other")]
    assert [await is_quiet(task) for task in tasks] == [True, True]
    await demo.commands.xadd("stream", {"text": "a"})
    async with asyncio.timeout(PATIENCE_S):
        replies = await asyncio.gather(*tasks)  # the write has ended both waits
    assert sorted(len(reply) for reply in replies) == [0, 1]


async def test_what_others_have_pending_does_not_end_the_wait(demo: Storage) -> None:
    """A stream full of taken entries is an idle stream to the next consumer."""
    await demo.commands.xadd("stream", {"text": "taken"})
    await read_group(demo.blocking, "one", LONG_MS)
    task = read_group(demo.blocking, "other", LONG_MS)
    assert await is_quiet(task)
    await cancel([task])
