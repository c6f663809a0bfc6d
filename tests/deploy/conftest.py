"""nginx with our example file in front of two ports."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from backend.server.static_page import FRONTEND
from tests.fakes.nginx import Nginx
from tests.fakes.programs import free_port


@pytest.fixture(scope="module")
def ports() -> tuple[int, int]:
    """Where the two servers listen, whoever they are."""
    return free_port(), free_port()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nginx(
    tmp_path_factory: pytest.TempPathFactory, ports: tuple[int, int]
) -> AsyncIterator[Nginx]:
    """Nginx with the example, the page of this clone, and those two ports behind it."""
    nginx = Nginx(tmp_path_factory.mktemp("nginx"), ports, FRONTEND)
    async with nginx.running():
        yield nginx


@pytest_asyncio.fixture(loop_scope="module")
async def http(nginx: Nginx) -> AsyncIterator[aiohttp.ClientSession]:
    """Somebody who believes in the certificate."""
    async with nginx.session() as session:
        yield session
