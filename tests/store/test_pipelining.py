"""Commands of many tasks in one round trip: each task gets its own reply, or its own error."""

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ExecAbortError, ResponseError

from backend.runtime.background_tasks import cancel
from backend.store.connection import Storage
from backend.store.failures import Failures
from backend.store.pipelining import Pipelining
from tests.fakes.gated_redis import GatedRedis
from tests.fakes.rig import PATIENCE_S, is_quiet

pytestmark = pytest.mark.usefixtures("shared_redis")  # it has to start outside of an event loop


@pytest.fixture
def redis(storage: Storage) -> GatedRedis:
    """A client whose round trips are calls of `execute`."""
    return GatedRedis(storage.commands)


@pytest.fixture
def pipelining(redis: GatedRedis) -> Pipelining:
    """What is tested, with nothing on its way."""
    return Pipelining(redis, Failures())


@pytest.fixture
async def reported() -> list[dict[str, Any]]:
    """What asyncio reports from now on: errors that nobody has looked at."""
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, report: reports.append(report))
    return reports


async def begun(*runs: Coroutine[Any, Any, Any]) -> list[asyncio.Task[Any]]:
    """Start these; on return each has run up to where it waits for the first time."""
    tasks = [asyncio.create_task(run) for run in runs]
    await asyncio.sleep(0)
    return tasks


async def in_flight(pipelining: Pipelining, redis: GatedRedis) -> asyncio.Task[Any]:
    """A command whose round trip has begun, and is held back."""
    redis.hold("execute")
    (task,) = await begun(pipelining.send("PING"))
    await redis.called("execute")
    return task


def senders() -> list[asyncio.Task[Any]]:
    """The tasks that make round trips."""
    return [task for task in asyncio.all_tasks() if "_send_all" in repr(task)]


async def test_commands_of_one_moment_share_a_round_trip(
    pipelining: Pipelining, redis: GatedRedis
) -> None:
    """A hundred tasks that send at the same time cost one round trip, and each has its reply."""
    replies = await asyncio.gather(*(pipelining.send("INCR", "n") for _ in range(100)))
    assert replies == list(range(1, 101))
    assert redis.count("execute") == 1


async def test_what_comes_meanwhile_goes_with_the_next_round_trip(
    pipelining: Pipelining, redis: GatedRedis
) -> None:
    """While a round trip is on its way the rest gathers, and goes out as one."""
    first = await in_flight(pipelining, redis)
    others = await begun(*(pipelining.send("INCR", "n") for _ in range(50)))
    assert redis.count("execute") == 1
    redis.let_go("execute")
    assert await first is True
    assert await asyncio.gather(*others) == list(range(1, 51))
    assert redis.count("execute") == 2


async def test_a_quiet_time_leaves_no_task(pipelining: Pipelining) -> None:
    """Once everything has its reply, nothing is kept running; the next command starts it again."""
    for _ in range(2):
        assert await pipelining.send("PING")
        assert senders() == []


async def test_commands_keep_their_order(
    pipelining: Pipelining, redis: GatedRedis, storage: Storage
) -> None:
    """Redis executes commands in the order in which they were given, over all round trips."""
    tasks = [await in_flight(pipelining, redis)]
    for number in range(10):
        tasks += await begun(pipelining.send("RPUSH", "list", number))
    redis.let_go("execute")
    for number in range(10, 20):
        tasks += await begun(pipelining.send("RPUSH", "list", number))
    await asyncio.gather(*tasks)
    assert await storage.commands.lrange("list", 0, -1) == [str(number) for number in range(20)]


async def test_an_error_reaches_its_own_caller_alone(pipelining: Pipelining) -> None:
    """A command that Redis refuses does not spoil those that share its round trip."""
    commands = [("SET", "key", "text"), ("INCR", "key"), ("GET", "key")]
    sends = (pipelining.send(*command) for command in commands)
    before, refused, after = await asyncio.gather(*sends, return_exceptions=True)
    assert (before, after) == (True, "text")
    assert isinstance(refused, ResponseError)


async def test_a_broken_connection_reaches_everybody(
    pipelining: Pipelining, redis: GatedRedis
) -> None:
    """All who share a round trip hear that it failed; those of the next one hear nothing of it."""
    redis.hold("execute")
    redis.refuse("execute")
    shared = await begun(*(pipelining.send("INCR", "n") for _ in range(10)))
    await redis.called("execute")
    next_ones = await begun(*(pipelining.send("INCR", "n") for _ in range(3)))
    redis.let_go("execute")
    outcomes = await asyncio.gather(*shared, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [RedisConnectionError] * 10
    assert await asyncio.gather(*next_ones) == [1, 2, 3]


async def test_sending_works_again_after_an_outage(
    pipelining: Pipelining, redis: GatedRedis
) -> None:
    """However often it has failed, the next command is sent."""
    redis.refuse("execute", times=3)
    for _ in range(3):
        with pytest.raises(RedisConnectionError):
            await pipelining.send("PING")
    assert await pipelining.send("PING") is True


async def test_a_lost_reply_is_an_error_and_sent_once(
    pipelining: Pipelining, redis: GatedRedis
) -> None:
    """A command whose reply is lost is not sent again by itself: it may not be repeatable."""
    redis.lose_reply("execute")
    with pytest.raises(RedisConnectionError):
        await pipelining.send("INCR", "n")
    assert await pipelining.send("GET", "n") == "1"


@pytest.mark.parametrize("moment", ["waiting", "on its way"])
async def test_a_cancelled_caller_disturbs_nobody(
    pipelining: Pipelining, redis: GatedRedis, moment: str
) -> None:
    """Whoever gives up, before or after the command left, everybody else has the right reply."""
    first = await in_flight(pipelining, redis)
    callers = await begun(*(pipelining.send("ECHO", str(number)) for number in range(5)))
    if moment == "on its way":
        redis.let_go("execute")
        redis.hold("execute")
        await first
        await redis.called("execute", 2)
    callers[2].cancel()
    with pytest.raises(asyncio.CancelledError):
        await callers[2]
    redis.let_go("execute")
    await first
    del callers[2]
    assert await asyncio.gather(*callers) == ["0", "1", "3", "4"]


async def test_commands_sent_together_give_raw_replies(pipelining: Pipelining) -> None:
    """Replies of a transaction are Redis's own, whatever others send before and after it."""
    stored, together, read = await asyncio.gather(
        pipelining.send("SET", "a", "1"),
        pipelining.send_together(
            ("SET", "b", "2", "NX"), ("SET", "b", "3", "NX"), ("GET", "b"), ("INCR", "a")
        ),
        pipelining.send("GET", "a"),
    )
    assert stored is True  # as the library words it
    assert together == ["OK", None, "2", 2]
    assert read == "2"


async def test_an_error_within_a_transaction_is_raised(
    pipelining: Pipelining, storage: Storage
) -> None:
    """Where Redis fails a command of a transaction, its caller is told, and the rest is done."""
    sends = (
        pipelining.send_together(("SET", "key", "text"), ("INCR", "key"), ("SET", "other", "1")),
        pipelining.send("ECHO", "after"),
    )
    together, after = await asyncio.gather(*sends, return_exceptions=True)
    assert isinstance(together, ResponseError)
    assert after == "after"
    assert await storage.commands.mget("key", "other") == ["text", "1"]


async def test_transactions_of_one_moment_do_not_mix(
    pipelining: Pipelining, redis: GatedRedis
) -> None:
    """Many transactions among many single commands share a round trip; each has its own replies."""
    outcomes = await asyncio.gather(
        *(
            pipelining.send_together(("INCR", "n"), ("ECHO", str(number)))
            if number % 2
            else pipelining.send("ECHO", str(number))
            for number in range(40)
        )
    )
    assert outcomes == [
        [number // 2 + 1, str(number)] if number % 2 else str(number) for number in range(40)
    ]
    assert redis.count("execute") == 1


async def test_commands_sent_together_are_done_or_not_at_all(
    pipelining: Pipelining, storage: Storage
) -> None:
    """Where Redis does not take one of them it executes none, and others are not concerned."""
    before, together, after = await asyncio.gather(
        pipelining.send("INCR", "n"),
        pipelining.send_together(("SET", "key", "value"), ("NO_SUCH_COMMAND",)),
        pipelining.send("INCR", "n"),
        return_exceptions=True,
    )
    assert isinstance(together, ExecAbortError)
    assert (before, after) == (1, 2)
    assert await storage.commands.get("key") is None


async def test_a_transaction_whose_caller_gives_up_stays_whole(
    pipelining: Pipelining, redis: GatedRedis, storage: Storage
) -> None:
    """Cancelled before it is sent, a transaction is executed whole, and holds nobody else up."""
    first = await in_flight(pipelining, redis)
    (together,) = await begun(pipelining.send_together(("SET", "a", "1"), ("SET", "b", "2")))
    (single,) = await begun(pipelining.send("GET", "b"))
    together.cancel()
    redis.let_go("execute")
    await first
    assert await single == "2"
    assert await storage.commands.mget("a", "b") == ["1", "2"]


async def test_closing_cancels_whoever_waits(pipelining: Pipelining, redis: GatedRedis) -> None:
    """Those on their way and those that wait are cancelled, and no task is left."""
    on_its_way = await in_flight(pipelining, redis)
    waiting = await begun(pipelining.send("PING"), pipelining.send_together(("PING",)))
    await pipelining.aclose()
    assert senders() == []
    ended, hanging = await asyncio.wait([on_its_way, *waiting], timeout=PATIENCE_S)
    assert not hanging
    assert all(task.cancelled() for task in ended)
    assert redis.count("execute") == 1


async def test_closing_before_anything_was_sent(pipelining: Pipelining, redis: GatedRedis) -> None:
    """A command that is given and closed upon in one moment is cancelled, and never sent."""
    (waiting,) = await begun(_sent_and_closed(pipelining))
    await asyncio.wait({waiting}, timeout=PATIENCE_S)
    assert waiting.cancelled()
    assert senders() == []
    assert redis.count("execute") == 0


async def _used_and_closed(pipelining: Pipelining) -> None:
    await pipelining.send("PING")
    await pipelining.aclose()


async def _sent_and_closed(pipelining: Pipelining) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(pipelining.aclose())
        await pipelining.send("PING")


async def test_closing_twice_and_unused_is_closing(pipelining: Pipelining) -> None:
    """There need not be anything to close."""
    await pipelining.aclose()
    await pipelining.aclose()


@pytest.mark.parametrize("close", [_used_and_closed, _sent_and_closed])
async def test_after_the_close_nothing_is_sent_and_nobody_waits(
    pipelining: Pipelining,
    redis: GatedRedis,
    close: Callable[[Pipelining], Coroutine[Any, Any, None]],
) -> None:
    """A command that comes after the close fails at once, whatever was sent before."""
    (closing,) = await begun(close(pipelining))
    await asyncio.wait({closing}, timeout=PATIENCE_S)
    sent = redis.count("execute")
    (late,) = await begun(pipelining.send("PING"))
    try:
        assert not await is_quiet(late)
        assert late.cancelled() or late.exception()
        assert redis.count("execute") == sent
    finally:
        await cancel([late])


async def test_errors_that_nobody_awaits_are_not_reported(
    pipelining: Pipelining, redis: GatedRedis, reported: list[dict[str, Any]]
) -> None:
    """A failed round trip is no news where its caller has gone, or was one of a transaction."""

    async def fail() -> None:
        gone, together = await begun(
            pipelining.send("PING"), pipelining.send_together(("PING",), ("PING",))
        )
        gone.cancel()
        await asyncio.wait({gone, together})
        assert isinstance(together.exception(), RedisConnectionError)

    redis.refuse("execute")
    await asyncio.create_task(fail())
    gc.collect()
    await asyncio.sleep(0)
    assert reported == []
