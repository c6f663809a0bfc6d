"""Counts what Redis fails, by kind; whoever sent the command decides what to do about it."""

from collections import Counter
from typing import Any

from redis.asyncio import ConnectionPool, Redis
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

KINDS = ("connection", "timeout", "response")


class Failures(Counter[str]):
    """How many commands and pipelines have failed, by kind."""

    def add(self, exc: Exception) -> None:
        """Count a failure of Redis or its connection; that a group exists already is none."""
        if isinstance(exc, TimeoutError | RedisTimeoutError):
            self["timeout"] += 1
        elif isinstance(exc, ResponseError):
            self["response"] += not str(exc).startswith("BUSYGROUP")
        elif isinstance(exc, RedisError | OSError):
            self["connection"] += 1


class CountedRedis(Redis):
    """redis-py's client, which counts the commands that fail, and closes its pool in the end.

    A subclass, because redis-py passes failures on to nobody but OpenTelemetry. What a pipeline
    fails, `Pipelining` counts.
    """

    def __init__(self, pool: ConnectionPool, failures: Failures) -> None:
        super().__init__(connection_pool=pool)
        self.auto_close_connection_pool = True
        self._failures = failures

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Execute a command."""
        try:
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        except Exception as exc:
            self._failures.add(exc)
            raise
