"""How the commands of an operator get at Redis, and what they say where they do not."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from ..protocol.errors import Expired, StorageUnavailable
from ..settings import Settings
from ..store.connection import Storage, answering_within, connect
from ..store.records import Questions
from .console import FAILED, UNREACHABLE, complain

LOOK_WITHIN_S = 10.0  # Redis is given so long for a whole look


def run_look(look: Coroutine[Any, Any, int]) -> int:
    """Run a look at Redis; returns the exit code."""
    try:
        return asyncio.run(look)
    except Expired as exc:
        complain(str(exc))
        return FAILED
    except StorageUnavailable:
        complain("Redis does not answer at REDIS_URL")
        return UNREACHABLE


@asynccontextmanager
async def looking(settings: Settings) -> AsyncIterator[tuple[Storage, Questions]]:
    """A short look at Redis. Raises StorageUnavailable where it takes too long."""
    async with contextlib.AsyncExitStack() as stack:
        storage = await stack.enter_async_context(connect(settings.redis_url))
        await stack.enter_async_context(answering_within(LOOK_WITHIN_S))
        yield storage, Questions(storage, settings.retention_s)
