"""A client of Redis that counts what fails; who called decides what to do about it."""

from collections import Counter
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

KINDS = ("connection", "timeout", "response")

Failures = Counter[str]  # by kind


def count(failures: Failures, exc: Exception) -> None:
    """Count a failure by its kind; that a group is there already is none."""
    if isinstance(exc, TimeoutError | RedisTimeoutError):
        failures["timeout"] += 1
    elif not isinstance(exc, ResponseError):
        failures["connection"] += 1
    elif not str(exc).startswith("BUSYGROUP"):
        failures["response"] += 1


class CountedRedis(Redis):
    """The library's client; `failures` is given to it right after it was made."""

    failures: Failures

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Execute a command."""
        try:
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        except (RedisError, OSError) as exc:
            count(self.failures, exc)
            raise

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        """A pipeline that counts into the same place."""
        pipe = CountedPipeline(
            self.connection_pool, self.response_callbacks, transaction, shard_hint
        )
        pipe.failures = self.failures
        return pipe


class CountedPipeline(Pipeline):
    """The library's pipeline; one that fails counts once, however much is in it."""

    failures: Failures

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Execute what was gathered."""
        try:
            replies: list[Any] = await super().execute(raise_on_error)
            return replies
        except (RedisError, OSError) as exc:
            count(self.failures, exc)
            raise
