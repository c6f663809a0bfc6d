"""Redis stays as small as the retention says, whatever happens to it meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from backend.store import stop_signals
from backend.store.connection import Client, Storage, connect, insist
from backend.store.retention import Retention
from backend.store.work_queue import QUEUE_GROUP, QUEUE_STREAM, WorkQueue, put
from tests.fakes.gated_redis import GatedRedis
from tests.fakes.programs import RedisServer
from tests.fakes.rig import PATIENCE_S, STREAM, in_background

pytestmark = pytest.mark.usefixtures("shared_redis")  # it has to start outside of an event loop

STREAMS = pytest.mark.parametrize("stream", [STREAM, stop_signals.STOP_STREAM])
RETENTION_S = 60.0
RETENTION_MS = 60_000
NOW_MS = 1_700_000_000_000


class StoppedClock:
    """A client of a Redis whose clock stands still: at NOW_MS, and almost a millisecond."""

    def __init__(self, redis: Client) -> None:
        self._redis = redis

    async def time(self) -> tuple[int, int]:
        """The time as Redis gives it: seconds, and microseconds on top."""
        return NOW_MS // 1000, NOW_MS % 1000 * 1000 + 999

    def __getattr__(self, name: str) -> Any:
        return getattr(self._redis, name)


@pytest.fixture
def stopped(storage: Storage) -> Retention:
    """Retention in a Redis whose clock stands still."""
    clients = (StoppedClock(storage.commands), storage.writing, storage.blocking)
    return Retention(Storage(*clients), STREAM, RETENTION_S)


@pytest.fixture
async def own_storage(own_redis: RedisServer) -> AsyncIterator[Storage]:
    """Clients of the redis-server that the test may do harm to."""
    async with connect(own_redis.url) as opened:
        yield opened


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds follow each other without a pause."""
    monkeypatch.setattr("backend.store.retention.LONGEST_PAUSE_S", 0.0)


async def write(storage: Storage, stream: str, *entry_ids: str) -> None:
    """Write entries with these ids, which begin with the time of writing."""
    for entry_id in entry_ids:
        await storage.commands.xadd(stream, {"questionId": "q"}, id=entry_id)


async def ids(storage: Storage, stream: str) -> list[str]:
    """The ids of all that stands in a stream."""
    return [entry_id for entry_id, _ in await storage.commands.xrange(stream)]


async def consumers(storage: Storage) -> set[str]:
    """The names in the group of the workers."""
    return {
        each["name"] for each in await storage.commands.xinfo_consumers(QUEUE_STREAM, QUEUE_GROUP)
    }


async def on_redis_clock(storage: Storage, age_ms: int) -> str:
    """The id of an entry that would be so old now."""
    seconds, microseconds = await storage.commands.time()
    return f"{seconds * 1000 + microseconds // 1000 - age_ms}-0"


@STREAMS
async def test_what_is_older_is_gone_and_the_rest_is_not(
    storage: Storage, stopped: Retention, stream: str
) -> None:
    """To the millisecond: what is as old as the retention stays, what is older goes."""
    oldest = NOW_MS - RETENTION_MS
    await write(storage, stream, "0-1", f"{oldest - 1}-0", f"{oldest - 1}-99")
    kept = [f"{oldest}-0", f"{oldest}-7", f"{oldest + 1}-0", f"{NOW_MS}-0"]
    await write(storage, stream, *kept)
    await stopped.clean_up()
    assert await ids(storage, stream) == kept


async def test_trimming_is_exact_however_many_there_are(
    storage: Storage, stopped: Retention
) -> None:
    """Nothing too old is left because Redis keeps entries in blocks."""
    oldest = NOW_MS - RETENTION_MS
    async with storage.commands.pipeline(transaction=True) as pipe:
        for number in range(350):
            pipe.xadd(STREAM, {"questionId": "q"}, id=f"{oldest - 250 + number}-0")
        await pipe.execute()
    await stopped.clean_up()
    assert await ids(storage, STREAM) == [f"{oldest + number}-0" for number in range(100)]


@STREAMS
async def test_age_is_told_by_the_clock_of_redis(storage: Storage, stream: str) -> None:
    """Entries as old as Redis itself says are trimmed and kept."""
    old = await on_redis_clock(storage, RETENTION_MS + 1)
    young = await on_redis_clock(storage, RETENTION_MS // 2)
    await write(storage, stream, old, young)
    await Retention(storage, STREAM, RETENTION_S).clean_up()
    assert await ids(storage, stream) == [young]


async def test_queued_questions_are_never_trimmed(storage: Storage, stopped: Retention) -> None:
    """A question waits as long as it has to: the queue is emptied by workers alone."""
    await write(storage, QUEUE_STREAM, "1-1")
    await WorkQueue(storage, "worker").create_group()
    await stopped.clean_up()
    assert await ids(storage, QUEUE_STREAM) == ["1-1"]


async def test_a_retention_longer_than_all_time_trims_nothing(storage: Storage) -> None:
    """With a clock that has hardly begun there is no negative age."""
    await write(storage, STREAM, "0-1")
    await Retention(storage, STREAM, 1e11).clean_up()
    assert await ids(storage, STREAM) == ["0-1"]


async def test_an_empty_redis_is_clean(storage: Storage) -> None:
    """Before any stream exists there is nothing to do, and none is made."""
    await Retention(storage, STREAM, RETENTION_S).clean_up()
    assert await storage.commands.keys() == []


async def test_cleaning_up_twice_changes_nothing(storage: Storage, stopped: Retention) -> None:
    """Every worker does it, in no order at all."""
    await write(storage, STREAM, "1-1", f"{NOW_MS}-0")
    await asyncio.gather(stopped.clean_up(), stopped.clean_up())
    assert await ids(storage, STREAM) == [f"{NOW_MS}-0"]


async def test_idle_consumers_with_nothing_pending_are_forgotten(storage: Storage) -> None:
    """The name of a worker that has gone goes, too; one under which a question stands stays."""
    await WorkQueue(storage, "gone").create_group()
    await storage.commands.xgroup_createconsumer(QUEUE_STREAM, QUEUE_GROUP, "gone")
    await storage.commands.execute_command(*put("q", "token"))
    assert await WorkQueue(storage, "holds a question").take(1)
    retention = Retention(storage, STREAM, 0.001)
    async with asyncio.timeout(PATIENCE_S):
        while "gone" in await consumers(storage):
            await retention.clean_up()
    await retention.clean_up()
    assert await consumers(storage) == {"holds a question"}


async def test_consumers_that_were_heard_of_lately_stay(storage: Storage) -> None:
    """A worker without work keeps its name."""
    await WorkQueue(storage, "idle").create_group()
    await storage.commands.xgroup_createconsumer(QUEUE_STREAM, QUEUE_GROUP, "idle")
    await Retention(storage, STREAM, RETENTION_S).clean_up()
    assert await consumers(storage) == {"idle"}


async def test_forgetting_loses_no_question(storage: Storage) -> None:
    """However often a taker is forgotten just then, what it is given is pending until finished."""
    taker = WorkQueue(storage, "taker")
    await taker.create_group()
    retention = Retention(storage, STREAM, -1.0)  # everybody is too idle for it

    async def clean_up() -> None:
        while True:
            await retention.clean_up()
            await asyncio.sleep(0)  # the embedded Redis answers without a pause

    async with in_background(clean_up()):
        for _ in range(30):
            await storage.writing.execute_command(*put("q", "token"))
            (delivery,) = await taker.take(1)
            assert (await storage.writing.xpending(QUEUE_STREAM, QUEUE_GROUP))["pending"] == 1
            await taker.finish(delivery.entry_id)


@pytest.mark.usefixtures("hasty")
async def test_it_goes_on_until_cancelled(storage: Storage) -> None:
    """What grows old while a worker runs is removed in one of its rounds."""
    gate = GatedRedis(storage.commands)
    retention = Retention(Storage(gate, storage.writing, storage.blocking), STREAM, RETENTION_S)
    async with asyncio.timeout(PATIENCE_S), in_background(retention.run()):
        for entry_id in ("1-1", "2-1"):
            await write(storage, STREAM, entry_id)
            await gate.called("time", gate.count("time") + 2)
            assert await ids(storage, STREAM) == []


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("command", ["time", "xtrim", "exists", "eval"])
async def test_a_refusal_only_delays_it(storage: Storage, command: str) -> None:
    """Whatever fails of a round, the rounds go on, and what was left is done then."""
    await WorkQueue(storage, "worker").create_group()
    gate = GatedRedis(storage.commands)
    gate.refuse(command, times=3)
    retention = Retention(Storage(gate, storage.writing, storage.blocking), STREAM, RETENTION_S)
    async with asyncio.timeout(PATIENCE_S), in_background(retention.run()):
        await gate.called(command, 3)
        await write(storage, STREAM, "1-1")
        await gate.called("eval", gate.count("eval") + 2)
        assert await ids(storage, STREAM) == []


@pytest.mark.usefixtures("hasty")
async def test_a_missing_group_does_not_keep_streams_from_being_trimmed(storage: Storage) -> None:
    """Questions that were asked before there was any worker are no fault."""
    await storage.commands.execute_command(*put("q", "token"))
    await write(storage, STREAM, "1-1")
    gate = GatedRedis(storage.commands)
    retention = Retention(Storage(gate, storage.writing, storage.blocking), STREAM, RETENTION_S)
    async with asyncio.timeout(PATIENCE_S), in_background(retention.run()):
        await gate.called("eval", 2)
    assert await ids(storage, STREAM) == []


@pytest.mark.usefixtures("hasty")
async def test_a_restart_of_redis_is_survived(own_redis: RedisServer, own_storage: Storage) -> None:
    """Rounds that began before Redis went go on once it is back."""
    gate = GatedRedis(own_storage.commands)
    clients = (gate, own_storage.writing, own_storage.blocking)
    retention = Retention(Storage(*clients), STREAM, RETENTION_S)
    async with asyncio.timeout(2 * PATIENCE_S), in_background(retention.run()):
        await gate.called("exists")
        own_redis.kill()
        await gate.called("time", gate.count("time") + 2)
        await asyncio.to_thread(own_redis.start)
        await insist(lambda: own_storage.writing.xadd(STREAM, {"questionId": "q"}, id="1-1"))
        await gate.called("exists", gate.count("exists") + 2)
        assert await ids(own_storage, STREAM) == []


def test_pauses_fit_the_retention() -> None:
    """Short retentions are kept to soon, long ones cost a round a minute, none spins."""
    storage = Storage(None, None, None)
    pauses_s = [
        Retention(storage, STREAM, retention_s)._pause_s for retention_s in (1, 240, 86_400)
    ]
    assert pauses_s == [0.5, 10.0, 60.0]
