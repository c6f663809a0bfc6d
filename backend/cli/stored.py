"""Queries of Redis for the commands of operators, and what they say where Redis fails."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from ..protocol.errors import Expired, StorageUnavailable
from ..settings import Settings
from ..store.connection import Storage, answering_within, connect
from ..store.records import Records
from .console import FAILED, UNREACHABLE, complain

QUERY_WITHIN_S = 10.0  # a command's reads, all together


def run_query(query: Coroutine[Any, Any, int]) -> int:
    """Run the reads of a command; returns the exit code."""
    try:
        return asyncio.run(query)
    except Expired as exc:
        complain(str(exc))
        return FAILED
    except StorageUnavailable:
        complain("Redis does not answer at REDIS_URL")
        return UNREACHABLE


@asynccontextmanager
async def querying(settings: Settings) -> AsyncIterator[tuple[Storage, Records]]:
    """Redis, to be read while the block lasts. Raises StorageUnavailable where that takes long."""
    async with contextlib.AsyncExitStack() as stack:
        storage = await stack.enter_async_context(connect(settings.redis_url))
        await stack.enter_async_context(answering_within(QUERY_WITHIN_S))
        yield storage, Records(storage, settings.retention_s)
