"""A backend on a real port, with an embedded Redis and a model that is led, and its clients.

The clients are raw on purpose: a library would hide a second acknowledgement, and reads all the
time.
"""

from collections.abc import AsyncIterator

import pytest

from tests.fakes.told_backend import Backend, Client, connected


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    """A backend at whose sockets at most three answers may be followed."""
    async with Backend(max_followed_per_socket=3).running() as backend:
        yield backend


@pytest.fixture
async def client(backend: Backend) -> AsyncIterator[Client]:
    """A client of that backend."""
    async with connected(backend.url) as client:
        yield client


@pytest.fixture
async def other(backend: Backend) -> AsyncIterator[Client]:
    """Another client of that backend."""
    async with connected(backend.url) as client:
        yield client
