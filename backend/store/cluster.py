"""Refuses a Redis Cluster in plain words, instead of failing at every second question.

The record of a question and its job are written by one script, and so are the entries of all
running answers; in a cluster these keys are on different nodes. One Redis is needed, with or
without replicas, reached directly or through a proxy.
"""

from redis.exceptions import ResponseError

from ..settings import SettingsError
from .connection import Storage, insist


async def refuse_cluster(storage: Storage) -> None:
    """Raise SettingsError if Redis, once it answers, is a cluster."""
    if await insist(lambda: _is_cluster(storage)):
        raise SettingsError(
            "REDIS_URL leads to a Redis Cluster, over whose nodes our keys cannot be spread:"
            " one Redis is needed, or one with replicas"
        )


async def _is_cluster(storage: Storage) -> bool:
    try:
        return bool((await storage.commands.info("cluster")).get("cluster_enabled"))
    except ResponseError:  # INFO may be forbidden, or missing where Redis is embedded
        return False
