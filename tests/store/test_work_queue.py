"""The work queue: each question to one worker, and to another one if that dies."""

import asyncio
import dataclasses

import pytest
from redis.exceptions import ResponseError

from backend.runtime.background_tasks import cancel
from backend.store.connection import STORAGE_ERRORS, Storage, connect, insist
from backend.store.work_queue import (
    QUEUE_GROUP,
    QUEUE_STREAM,
    RELEASED_IDLE_MS,
    Job,
    WorkQueue,
    forget_consumers,
    put,
    waiting,
)
from tests.fakes.gated_redis import GatedRedis
from tests.fakes.programs import RedisServer
from tests.fakes.rig import PATIENCE_S, is_quiet

pytestmark = pytest.mark.usefixtures("shared_redis")  # it has to start outside of an event loop

LEASE_MS = 10_000


@pytest.fixture
async def queue(storage: Storage) -> WorkQueue:
    """The queue as one worker sees it, empty."""
    queue = WorkQueue(storage, "one")
    await queue.create_group()
    return queue


@pytest.fixture
def other(storage: Storage, queue: WorkQueue) -> WorkQueue:
    """The same queue as another worker sees it."""
    return WorkQueue(storage, "other")


async def put_questions(storage: Storage, *question_ids: str) -> None:
    """Queue questions in one transaction each, as a server does."""
    for question_id in question_ids:
        async with storage.commands.pipeline(transaction=True) as pipe:
            pipe.execute_command(*put(question_id, f"token of {question_id}"))
            await pipe.execute()


async def take_one(queue: WorkQueue) -> Job:
    """Take exactly one question."""
    (delivery,) = await queue.take(1)
    return delivery


async def let_lease_age(storage: Storage, delivery: Job, idle_ms: int) -> None:
    """Make a delivery look as if its worker had been silent for so long."""
    await storage.commands.xclaim(
        QUEUE_STREAM, QUEUE_GROUP, "one", 0, [delivery.entry_id], idle=idle_ms, justid=True
    )


async def test_a_question_is_taken_with_its_token(storage: Storage, queue: WorkQueue) -> None:
    """A worker learns the question's id and the token it was queued with."""
    await put_questions(storage, "q")
    delivery = await take_one(queue)
    assert (delivery.question_id, delivery.token) == ("q", "token of q")


async def test_questions_are_taken_in_order(storage: Storage, queue: WorkQueue) -> None:
    """Who asked first is answered first, and no more is taken than was wanted."""
    await put_questions(storage, "a", "b", "c")
    assert [delivery.question_id for delivery in await queue.take(2)] == ["a", "b"]
    assert [delivery.question_id for delivery in await queue.take(2)] == ["c"]


async def test_taking_waits_for_a_question(storage: Storage, queue: WorkQueue) -> None:
    """A worker without work is woken by the next question."""
    task = asyncio.create_task(queue.take(1))
    assert await is_quiet(task)
    await put_questions(storage, "q")
    async with asyncio.timeout(1):
        assert [delivery.question_id for delivery in await task] == ["q"]


async def test_taking_returns_when_nothing_comes(
    queue: WorkQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing to do for a while is no fault: an empty list."""
    monkeypatch.setattr("backend.store.work_queue.BLOCK_MS", 20)
    async with asyncio.timeout(PATIENCE_S):
        assert await queue.take(1) == []


async def test_a_question_goes_to_one_worker(
    storage: Storage, queue: WorkQueue, other: WorkQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers that wait at once share the questions and get none twice."""
    monkeypatch.setattr("backend.store.work_queue.BLOCK_MS", 20)
    await put_questions(storage, *(str(number) for number in range(20)))
    taken = [
        delivery.question_id
        for deliveries in await asyncio.gather(*(q.take(3) for q in [queue, other] * 5))
        for delivery in deliveries
    ]
    assert sorted(taken, key=int) == [str(number) for number in range(20)]


async def test_a_cancelled_take_loses_nothing(
    storage: Storage, queue: WorkQueue, other: WorkQueue
) -> None:
    """A question that comes in after a worker stopped waiting goes to another one."""
    task = asyncio.create_task(queue.take(1))
    assert await is_quiet(task)
    await cancel([task])
    await put_questions(storage, "q")
    taken = await other.take(1) or await other.claim(0, 1)
    assert [delivery.question_id for delivery in taken] == ["q"]


async def test_a_question_waits_for_the_first_worker(storage: Storage) -> None:
    """What was asked before any worker had started is taken by the first one."""
    await put_questions(storage, "early")
    queue = WorkQueue(storage, "one")
    await queue.create_group()
    assert (await take_one(queue)).question_id == "early"


async def test_the_group_can_be_created_again(storage: Storage, queue: WorkQueue) -> None:
    """Every worker creates the group; what is pending stays pending."""
    await put_questions(storage, "q")
    await queue.take(1)
    await queue.create_group()
    assert (await storage.commands.xpending(QUEUE_STREAM, QUEUE_GROUP))["pending"] == 1


async def test_a_stream_of_another_type_is_not_taken_for_a_group(storage: Storage) -> None:
    """Creating the group hides no failure but that the group is there already."""
    await storage.commands.set(QUEUE_STREAM, "not a stream")
    with pytest.raises(ResponseError):
        await WorkQueue(storage, "one").create_group()


async def test_a_lease_that_has_not_lapsed_is_not_claimed(
    storage: Storage, queue: WorkQueue, other: WorkQueue
) -> None:
    """The question of a worker that was heard of lately stays with it."""
    await put_questions(storage, "q")
    await let_lease_age(storage, await take_one(queue), LEASE_MS // 2)
    assert await other.claim(LEASE_MS, 10) == []


async def test_a_lapsed_lease_is_claimed_once(
    storage: Storage, queue: WorkQueue, other: WorkQueue
) -> None:
    """A silent worker's question is taken over, with its token, and has a new lease then."""
    await put_questions(storage, "q")
    delivery = await take_one(queue)
    await let_lease_age(storage, delivery, 2 * LEASE_MS)
    assert await other.claim(LEASE_MS, 10) == [delivery]
    assert await WorkQueue(storage, "third").claim(LEASE_MS, 10) == []


async def test_no_more_is_claimed_than_was_wanted(
    storage: Storage, queue: WorkQueue, other: WorkQueue
) -> None:
    """A worker claims what it has room for; the rest is left to others."""
    await put_questions(storage, "a", "b", "c")
    for delivery in await queue.take(3):
        await let_lease_age(storage, delivery, 2 * LEASE_MS)
    assert [delivery.question_id for delivery in await other.claim(LEASE_MS, 2)] == ["a", "b"]
    assert [delivery.question_id for delivery in await other.claim(LEASE_MS, 2)] == ["c"]


async def test_a_lapsed_lease_is_found_behind_many_others(
    storage: Storage, queue: WorkQueue, other: WorkQueue
) -> None:
    """However many questions are being answered, the one whose worker died is found."""
    await put_questions(storage, *(str(number) for number in range(100)))
    await let_lease_age(storage, (await queue.take(100))[-1], 2 * LEASE_MS)
    assert [delivery.question_id for delivery in await other.claim(LEASE_MS, 1)] == ["99"]


async def test_renewing_keeps_a_lease(storage: Storage, queue: WorkQueue, other: WorkQueue) -> None:
    """A lease that was about to lapse begins anew when it is renewed."""
    await put_questions(storage, "q")
    delivery = await take_one(queue)
    await let_lease_age(storage, delivery, 2 * LEASE_MS)
    await queue.renew([delivery.entry_id])
    assert await other.claim(LEASE_MS, 10) == []


async def test_renewing_nothing_sends_nothing(storage: Storage) -> None:
    """A worker without work does not bother Redis with its leases."""
    gate = GatedRedis(storage.writing)
    queue = WorkQueue(Storage(storage.commands, gate, storage.blocking), "one")
    await queue.renew([])
    assert gate.count("xclaim") == 0


async def test_renewing_does_not_bring_a_finished_question_back(
    storage: Storage, queue: WorkQueue, other: WorkQueue
) -> None:
    """A renewal that comes after the end changes nothing."""
    await put_questions(storage, "q")
    delivery = await take_one(queue)
    await queue.finish(delivery.entry_id)
    await queue.renew([delivery.entry_id])
    assert await other.claim(0, 10) == []


async def test_a_released_question_is_claimed_at_once(
    storage: Storage, queue: WorkQueue, other: WorkQueue
) -> None:
    """What was handed over is had by asking for what was released, lease or no lease."""
    await put_questions(storage, "q")
    delivery = await take_one(queue)
    await queue.release(delivery.entry_id)
    assert await other.claim(RELEASED_IDLE_MS, 10) == [delivery]


async def test_a_renewal_under_way_undoes_no_release(storage: Storage, other: WorkQueue) -> None:
    """What is released while a renewal is on its way is had by others at once all the same."""
    gate = GatedRedis(storage.writing)
    queue = WorkQueue(dataclasses.replace(storage, writing=gate), "one")
    await put_questions(storage, "q")
    delivery = await take_one(queue)
    gate.hold("xclaim")
    renewing = asyncio.create_task(queue.renew([delivery.entry_id]))
    await gate.called("xclaim")
    releasing = asyncio.create_task(queue.release(delivery.entry_id))
    assert await is_quiet(releasing)
    gate.let_go("xclaim")
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(renewing, releasing)
    await queue.renew([delivery.entry_id])
    assert await other.claim(RELEASED_IDLE_MS, 10) == [delivery]


async def test_what_was_not_released_is_told_apart(
    storage: Storage, queue: WorkQueue, other: WorkQueue
) -> None:
    """Asking for what was released does not give the question of a silent worker."""
    await put_questions(storage, "q")
    await let_lease_age(storage, await take_one(queue), 2 * LEASE_MS)
    assert await other.claim(RELEASED_IDLE_MS, 10) == []


async def test_finishing_empties_the_queue(storage: Storage, queue: WorkQueue) -> None:
    """Finished questions leave nothing behind, neither in the stream nor pending."""
    await put_questions(storage, "a", "b")
    for delivery in await queue.take(2):
        await queue.finish(delivery.entry_id)
    assert await storage.commands.xlen(QUEUE_STREAM) == 0
    assert (await storage.commands.xpending(QUEUE_STREAM, QUEUE_GROUP))["pending"] == 0


async def test_finishing_twice_does_no_harm(storage: Storage, queue: WorkQueue) -> None:
    """A repeated end is no fault."""
    await put_questions(storage, "q")
    delivery = await take_one(queue)
    await queue.finish(delivery.entry_id)
    await queue.finish(delivery.entry_id)
    assert await storage.commands.xlen(QUEUE_STREAM) == 0


async def test_a_worker_gives_everything_back(
    storage: Storage, queue: WorkQueue, other: WorkQueue
) -> None:
    """What stands under a worker's name when it leaves is had by others at once."""
    await put_questions(storage, "a", "b", "c")
    kept = await take_one(other)
    deliveries = await queue.take(2)
    await queue.release_all()
    third = WorkQueue(storage, "third")
    assert await third.claim(RELEASED_IDLE_MS, 10) == deliveries
    assert kept not in deliveries


async def test_a_worker_with_nothing_has_nothing_to_give_back(queue: WorkQueue) -> None:
    """Giving back nothing is no fault."""
    await queue.release_all()


async def test_consumers_of_dead_workers_are_forgotten(storage: Storage, queue: WorkQueue) -> None:
    """A name without pending questions that nobody uses is removed; others stay."""
    await put_questions(storage, "q")
    await queue.take(1)
    await storage.commands.xgroup_createconsumer(QUEUE_STREAM, QUEUE_GROUP, "dead")
    await forget_consumers(storage.commands, -1)
    names = [
        each["name"] for each in await storage.commands.xinfo_consumers(QUEUE_STREAM, QUEUE_GROUP)
    ]
    assert names == ["one"]


async def test_forgetting_consumers_needs_no_queue(storage: Storage) -> None:
    """Where nothing was ever asked, there is nobody to forget."""
    await forget_consumers(storage.commands, 0)


async def test_entries_of_other_programs_can_be_finished(
    storage: Storage, queue: WorkQueue
) -> None:
    """An entry without a question id is delivered without one, and goes away like the others."""
    await storage.commands.xadd(QUEUE_STREAM, {"something": "else"})
    delivery = await take_one(queue)
    assert (delivery.question_id, delivery.token) == ("", "")
    await queue.finish(delivery.entry_id)
    assert await storage.commands.xlen(QUEUE_STREAM) == 0


async def test_an_entry_that_was_deleted_is_not_claimed(
    storage: Storage, queue: WorkQueue, other: WorkQueue
) -> None:
    """A pending entry whose words are gone is passed over, and does not hide the next one."""
    await put_questions(storage, "a", "b")
    gone, left = await queue.take(2)
    await storage.commands.xdel(QUEUE_STREAM, gone.entry_id)
    assert await other.claim(0, 10) == [left]


async def test_work_goes_on_after_a_flush(storage: Storage, queue: WorkQueue) -> None:
    """An emptied Redis is a storage error; with the group created again, questions come again."""
    await storage.commands.flushall()
    with pytest.raises(STORAGE_ERRORS):
        await queue.take(1)
    await queue.create_group()
    await put_questions(storage, "q")
    assert (await take_one(queue)).question_id == "q"


async def test_a_flush_ends_a_waiting_take(redis_server: RedisServer) -> None:
    """A worker that waits while Redis is emptied hears of it, and does not wait for ever."""
    async with connect(redis_server.url) as storage:
        queue = WorkQueue(storage, "one")
        await queue.create_group()
        task = asyncio.create_task(queue.take(1))
        assert await is_quiet(task)
        await storage.commands.flushall()
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(ResponseError):
                await task


async def test_questions_survive_a_restart(own_redis: RedisServer) -> None:
    """What was queued and what was pending is still there after Redis was restarted."""
    async with connect(own_redis.url) as storage:
        queue = WorkQueue(storage, "one")
        await queue.create_group()
        await put_questions(storage, "pending", "queued")
        pending = await take_one(queue)
        own_redis.kill()
        await asyncio.to_thread(own_redis.start)
        queued = (await insist(lambda: queue.take(1)))[0]
        assert queued.question_id == "queued"
        assert await WorkQueue(storage, "other").claim(0, 1) == [pending]


async def test_waiting_questions_are_counted(storage: Storage, queue: WorkQueue) -> None:
    """A question waits until a worker takes it, and is gone when it is finished."""
    await put_questions(storage, "one", "two", "three")
    assert await waiting(storage.pipelining) == 3
    taken = await take_one(queue)
    assert await waiting(storage.pipelining) == 2
    await queue.finish(taken.entry_id)
    assert await waiting(storage.pipelining) == 2


async def test_questions_wait_for_the_first_worker(storage: Storage) -> None:
    """Before there was any worker, all questions wait, and none where there is none."""
    assert await waiting(storage.pipelining) == 0
    await put_questions(storage, "one", "two")
    assert await waiting(storage.pipelining) == 2
