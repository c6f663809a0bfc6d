"""Failures of Redis are counted by their kind, and raised all the same."""

import asyncio

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from backend.store.connection import Storage, connect
from backend.store.work_queue import WorkQueue
from tests.fakes.programs import RedisServer, free_port


async def send_transaction(storage: Storage) -> None:
    """Three commands in one transaction."""
    await storage.pipelining.send_together(*[("XADD", "stream", "*", "a", "b")] * 3)


async def test_what_succeeds_is_not_counted(redis_server: RedisServer) -> None:
    """A Redis that answers has failed nothing; a group that is there already is no failure."""
    async with connect(redis_server.url) as storage:
        await send_transaction(storage)
        queue = WorkQueue(storage, "one")
        await queue.create_group()
        await queue.create_group()
        assert storage.failures.total() == 0


async def test_what_redis_refuses_is_counted(redis_server: RedisServer) -> None:
    """A command of the wrong kind, alone or among others, is refused and counted."""
    async with connect(redis_server.url) as storage:
        await storage.commands.set("stream", "a string")
        with pytest.raises(ResponseError):
            await storage.commands.xlen("stream")
        with pytest.raises(ResponseError):
            await send_transaction(storage)
        assert dict(storage.failures) == {"response": 2}


async def test_an_unreachable_redis_is_counted() -> None:
    """Every command counts that found nobody there, from whichever client."""
    async with connect(f"redis://127.0.0.1:{free_port()}") as storage:
        with pytest.raises(RedisConnectionError):
            await storage.commands.ping()
        with pytest.raises(RedisConnectionError):
            await send_transaction(storage)
        with pytest.raises(RedisConnectionError):
            await storage.pipelining.send("PING")
        assert dict(storage.failures) == {"connection": 3}


async def test_a_silent_redis_is_counted(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Redis that does not answer in time counts as a timeout."""
    monkeypatch.setattr("backend.store.connection.SOCKET_TIMEOUT_S", 1.0)
    async with connect(own_redis.url) as storage:
        await storage.commands.ping()
        own_redis.pause()
        try:
            with pytest.raises((TimeoutError, RedisConnectionError, Exception)):
                async with asyncio.timeout(5):
                    await storage.commands.ping()
        finally:
            own_redis.go_on()
        assert dict(storage.failures) == {"timeout": 1}
