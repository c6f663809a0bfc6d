"""A Redis client whose calls can be watched, held back, refused, or robbed of their replies."""

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable
from typing import Any, Self

from redis.exceptions import ConnectionError as RedisConnectionError

from backend.store.connection import Client

Step = Callable[[str], Awaitable[None]]


async def _nothing(name: str) -> None:
    """Do nothing."""


class GatedRedis:
    """Stands before a real client and passes every call on, unless it was told otherwise.

    Calls go by the name of their command, and by `execute` where a pipeline
    sends its commands. `before` and `after` are awaited around every call.
    """

    def __init__(self, redis: Client) -> None:
        self._redis = redis
        self._counts: Counter[str] = Counter()
        self._counted = asyncio.Condition()
        self._gates: dict[str, asyncio.Event] = {}
        self._refused: defaultdict[str, float] = defaultdict(float)
        self._robbed: defaultdict[str, deque[bool]] = defaultdict(deque)
        self.before: Step = _nothing
        self.after: Step = _nothing

    def count(self, name: str) -> int:
        """How often this was called so far, held back or not."""
        return self._counts[name]

    async def called(self, name: str, times: int = 1) -> None:
        """Wait until this has been called so often in all."""
        async with self._counted:
            await self._counted.wait_for(lambda: self._counts[name] >= times)

    def hold(self, name: str) -> None:
        """Let calls of this wait from now on."""
        self._gates[name] = asyncio.Event()

    def let_go(self, name: str) -> None:
        """Let the waiting calls of this pass, and all later ones."""
        self._gates.pop(name).set()

    def refuse(self, name: str, times: float = 1) -> None:
        """Fail the next calls of this, as if Redis were away."""
        self._refused[name] = times

    def lose_reply(self, name: str, times: int = 1, *, skip: int = 0) -> None:
        """Do the next calls of this, and fail as if the connection broke before the reply.

        The first `skip` calls are let off.
        """
        self._robbed[name] = deque([False] * skip + [True] * times)

    async def pass_on(self, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        """Take one call through the gate."""
        async with self._counted:
            self._counts[name] += 1
            self._counted.notify_all()
        await self.before(name)
        if gate := self._gates.get(name):
            await gate.wait()
        if self._refused[name] > 0:
            self._refused[name] -= 1
            raise RedisConnectionError("refused by the test")
        reply = await call()
        await self.after(name)
        if self._robbed[name] and self._robbed[name].popleft():
            raise RedisConnectionError("reply lost by the test")
        return reply

    def pipeline(self, transaction: bool = True) -> "GatedPipeline":
        """A pipeline behind the same gate."""
        return GatedPipeline(self, self._redis.pipeline(transaction=transaction))

    def __getattr__(self, name: str) -> Any:
        command = getattr(self._redis, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await self.pass_on(name, lambda: command(*args, **kwargs))

        return call


class GatedPipeline:
    """A pipeline that gathers commands freely and sends them through the gate."""

    def __init__(self, gate: GatedRedis, pipe: Any) -> None:
        self._gate = gate
        self._pipe = pipe

    async def __aenter__(self) -> Self:
        await self._pipe.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._pipe.__aexit__(*exc_info)

    async def execute(self, **options: Any) -> Any:
        """Send what was gathered."""
        return await self._gate.pass_on("execute", lambda: self._pipe.execute(**options))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipe, name)
