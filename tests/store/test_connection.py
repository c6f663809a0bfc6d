"""The edge of Redis: its failures become ours, in time, and an outage is waited out."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, RedisError

from backend.protocol.errors import Expired, StorageUnavailable
from backend.store.connection import (
    COMMAND_CONNECTIONS,
    RETRY_MAX_S,
    RETRY_MIN_S,
    Backoff,
    Storage,
    answering_within,
    connect,
    insist,
)
from tests.fakes.programs import RedisServer, free_port
from tests.fakes.rig import PATIENCE_S, is_quiet

pytestmark = pytest.mark.usefixtures("shared_redis")  # it has to start outside of an event loop

WORDS = "somebodys-words"


@pytest.fixture
async def own_storage(own_redis: RedisServer) -> AsyncIterator[Storage]:
    """Clients of the redis-server that the test may do harm to."""
    async with connect(own_redis.url) as opened:
        yield opened


class Flaky:
    """An operation that fails some times before it succeeds."""

    def __init__(self, failures: float, failure: Exception) -> None:
        self.tries = 0
        self._failures = failures
        self._failure = failure

    async def __call__(self) -> str:
        """Fail, or succeed."""
        self.tries += 1
        if self.tries <= self._failures:
            raise self._failure
        return "done"


class Pauses:
    """A sleep that does not sleep, and remembers for how long."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    async def __call__(self, seconds: float) -> None:
        """Remember a pause."""
        self.taken.append(seconds)


async def test_commands_and_blocking_reads_reach_the_same_redis(storage: Storage) -> None:
    """What one client writes, the other one reads, as text."""
    entry_id = await storage.commands.xadd("stream", {"text": "naïve 😀"})
    reply = await storage.blocking.xread({"stream": "0-0"}, block=1_000)
    assert reply == [["stream", [(entry_id, {"text": "naïve 😀"})]]]


async def test_an_operation_that_succeeds_passes(storage: Storage) -> None:
    """A bounded operation that succeeds in time goes through untouched."""
    async with answering_within(PATIENCE_S):
        assert await storage.commands.ping()


@pytest.mark.parametrize(
    "failure",
    [
        RedisError(WORDS),
        RedisConnectionError(WORDS),
        OutOfMemoryError(WORDS),
        OSError(WORDS),
        ConnectionResetError(WORDS),
        TimeoutError(WORDS),
    ],
    ids=lambda failure: type(failure).__name__,
)
async def test_failures_of_redis_become_ours(failure: Exception) -> None:
    """Whatever redis-py raises, a client hears storage_unavailable and none of its words."""
    with pytest.raises(StorageUnavailable) as raised:
        async with answering_within(PATIENCE_S):
            raise failure
    assert raised.value.__cause__ is failure
    assert WORDS not in str(raised.value.payload)


async def test_errors_of_ours_pass_unchanged() -> None:
    """A missing record is not mistaken for a missing Redis."""
    with pytest.raises(Expired):
        async with answering_within(PATIENCE_S):
            raise Expired


async def test_a_late_operation_is_given_up() -> None:
    """An operation that takes too long ends as storage_unavailable."""
    with pytest.raises(StorageUnavailable):
        async with answering_within(0.01):
            await asyncio.Event().wait()


async def test_cancelling_is_not_a_failure_of_redis() -> None:
    """A cancelled request stays cancelled."""

    async def request() -> None:
        async with answering_within(PATIENCE_S):
            waiting.set()
            await asyncio.Event().wait()

    waiting = asyncio.Event()
    task = asyncio.create_task(request())
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_frozen_redis_is_given_up_in_time(
    own_redis: RedisServer, own_storage: Storage
) -> None:
    """A Redis that keeps its connections and says nothing costs no more than the bound."""
    await own_storage.commands.ping()
    own_redis.pause()
    began = time.monotonic()
    with pytest.raises(StorageUnavailable):
        async with answering_within(0.3):
            await own_storage.commands.ping()
    assert time.monotonic() - began < 1


async def test_a_frozen_redis_bounds_many_requests_alike(
    own_redis: RedisServer, own_storage: Storage
) -> None:
    """Of many requests at once, each is given up in time, whatever it was waiting for just then."""

    async def request() -> None:
        async with answering_within(0.15):
            await own_storage.pipelining.send("PING")

    await own_storage.commands.ping()
    own_redis.pause()
    began = time.monotonic()
    outcomes = await asyncio.gather(*(request() for _ in range(50)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StorageUnavailable] * 50
    assert time.monotonic() - began < 1


async def test_a_request_can_be_given_up_at_any_moment(
    own_redis: RedisServer, own_storage: Storage
) -> None:
    """Cancelled while it connects, sends or waits for a reply, a command ends at once."""
    own_redis.pause()
    for moments in range(30):
        request = asyncio.create_task(own_storage.pipelining.send("PING"))
        for _ in range(moments):
            await asyncio.sleep(0)
        request.cancel()
        ended, _ = await asyncio.wait({request}, timeout=1)
        assert ended, f"not after {moments} moments"


async def test_late_replies_are_not_taken_for_later_ones(
    own_redis: RedisServer, own_storage: Storage
) -> None:
    """The reply to a command that was given up never answers another command."""
    for key in range(10):
        await own_storage.commands.set(key, f"value of {key}")
    own_redis.pause()
    for key in range(5):
        with pytest.raises(StorageUnavailable):
            async with answering_within(0.02):
                await own_storage.commands.get(key)
    own_redis.go_on()
    assert await asyncio.gather(*(own_storage.commands.get(key) for key in range(10))) == [
        f"value of {key}" for key in range(10)
    ]


async def test_a_redis_that_is_down_is_given_up_at_once() -> None:
    """Where nobody listens, nobody waits."""
    began = time.monotonic()
    async with connect(f"redis://127.0.0.1:{free_port()}/0") as nowhere:
        with pytest.raises(StorageUnavailable):
            async with answering_within(PATIENCE_S):
                await nowhere.commands.ping()
    assert time.monotonic() - began < 1


async def test_connecting_sends_nothing() -> None:
    """Clients can be made, and closed, while Redis is down."""
    async with connect(f"redis://127.0.0.1:{free_port()}/0"):
        pass


async def test_clients_do_not_retry_by_themselves() -> None:
    """A command whose connection breaks is sent once: a hidden retry might write twice."""
    received: list[bytes] = []

    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.read(1_000)
        while b"XADD" not in data:  # the greeting of the client, command by command
            writer.write(b"+OK\r\n" * data.count(b"*"))
            data = await reader.read(1_000)
        received.append(data)
        writer.close()

    server = await asyncio.start_server(break_off, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, connect(f"redis://127.0.0.1:{port}/0") as storage:
        with pytest.raises(RedisError):
            await storage.commands.xadd("stream", {"text": "once"})
    assert len(received) == 1


async def test_connections_are_bounded(own_storage: Storage) -> None:
    """However many commands there are at once, they share a handful of connections."""
    await asyncio.gather(*(own_storage.commands.ping() for _ in range(100)))
    assert len(await own_storage.commands.client_list()) <= COMMAND_CONNECTIONS


async def test_insisting_gives_the_result() -> None:
    """An operation that fails for a while is repeated until it succeeds."""
    operation = Flaky(2, RedisConnectionError())
    assert await insist(operation) == "done"
    assert operation.tries == 3


async def test_insisting_does_not_repeat_what_redis_has_refused_for_good() -> None:
    """An error of ours ends the tries."""
    operation = Flaky(2, Expired())
    with pytest.raises(Expired):
        await insist(operation)
    assert operation.tries == 1


async def test_insisting_can_be_cancelled() -> None:
    """Whoever waits for Redis to come back can be told to give up."""
    task = asyncio.create_task(insist(Flaky(float("inf"), RedisConnectionError())))
    assert await is_quiet(task)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_insisting_outlasts_a_restart(own_redis: RedisServer, own_storage: Storage) -> None:
    """An operation that is begun while Redis is down is done once it is back."""
    await own_storage.commands.set("key", "value")
    own_redis.kill()
    task = asyncio.create_task(insist(lambda: own_storage.commands.get("key")))
    assert await is_quiet(task)
    await asyncio.to_thread(own_redis.start)
    async with asyncio.timeout(PATIENCE_S):
        assert await task == "value"


async def test_an_outage_is_logged_once_and_without_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log tells of an outage in one line, by the kind of failure alone."""
    with caplog.at_level(logging.DEBUG, logger="backend"):
        await insist(Flaky(3, RedisConnectionError(WORDS)))
    assert [record.getMessage() for record in caplog.records] == [
        "redis does not answer (ConnectionError), trying again"
    ]
    assert WORDS not in caplog.text


async def test_pauses_grow_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses double from the shortest to the longest, and begin anew after a success."""
    pauses = Pauses()
    monkeypatch.setattr("backend.store.connection.asyncio.sleep", pauses)
    backoff = Backoff()
    for _ in range(8):
        await backoff.wait()
    backoff.reset()
    await backoff.wait()
    assert pauses.taken[:3] == [RETRY_MIN_S, 2 * RETRY_MIN_S, 4 * RETRY_MIN_S]
    assert pauses.taken[-3:] == [RETRY_MAX_S, RETRY_MAX_S, RETRY_MIN_S]
