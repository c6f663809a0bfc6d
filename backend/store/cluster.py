"""Refuses a Redis Cluster in plain words, instead of failing at every second question.

The record of a question and its place in the queue are written in one step, and so
are the entries of all answers that are under way; in a cluster these keys lie on different
nodes. One Redis with replicas, or one found through a proxy, is what we are made for.
"""

import asyncio

from redis.exceptions import ResponseError

from ..settings import SettingsError
from .connection import Storage, insist


async def refuse_cluster(storage: Storage) -> None:
    """Look once, when Redis first answers, then wait; raises SettingsError at a cluster."""
    if await insist(lambda: _is_cluster(storage)):
        raise SettingsError(
            "REDIS_URL leads to a Redis Cluster, over whose nodes our keys cannot be spread:"
            " one Redis is needed, or one with replicas"
        )
    await asyncio.Event().wait()


async def _is_cluster(storage: Storage) -> bool:
    try:
        return bool((await storage.commands.info("cluster")).get("cluster_enabled"))
    except ResponseError:  # INFO may be forbidden, or missing where Redis is embedded
        return False
