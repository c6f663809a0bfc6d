"""A Redis Cluster, three masters on loopback: refused in words, at once."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.fakes.programs import RedisServer, program
from tests.faults.stack import SETTINGS, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

MASTERS = 3
ENDS_S = 15.0


@pytest.fixture(scope="module")
def masters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    """Three servers that may form a cluster."""
    started = []
    for number in range(MASTERS):
        directory: Path = tmp_path_factory.mktemp(f"master{number}")
        server = RedisServer(directory, "--cluster-enabled", "yes")
        server.start()
        started.append(server)
    yield started
    for server in started:
        server.kill()


async def form_cluster(masters: list[RedisServer]) -> None:
    """Make one cluster of them; on return it serves every key."""
    redis_cli = shutil.which("redis-cli")
    assert redis_cli
    creating = await asyncio.create_subprocess_exec(
        *(redis_cli, "--cluster", "create", "--cluster-yes"),
        *(f"127.0.0.1:{server.port}" for server in masters),
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert await creating.wait() == 0
    client: Any = Redis.from_url(masters[0].url, decode_responses=True)
    async with client:

        async def serves() -> bool:
            return bool((await client.execute_command("CLUSTER INFO"))["cluster_state"] == "ok")

        await until(serves)


async def test_a_cluster_is_refused(masters: list[RedisServer]) -> None:
    """Server and worker end at their start, naming the setting and what is needed instead."""
    await form_cluster(masters)
    for command in (["--workers", "0"], ["worker"]):
        settings = {**SETTINGS, "REDIS_URL": masters[0].url}
        async with program(*command, **settings) as refused:
            assert await refused.ended(ENDS_S) == 2
            assert "REDIS_URL leads to a Redis Cluster" in refused.log
            assert "Traceback" not in refused.log
