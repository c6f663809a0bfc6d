"""How a server and a worker are put together, how they start, drain and end."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from backend.app import BACKGROUND_TASKS, create_app, drain, load_configured_chain, run_worker
from backend.llm.base import Chain, Finish
from backend.settings import Settings
from backend.store.connection import Storage
from backend.store.embedded_redis import embedded_redis

Client = TestClient[web.Request, web.Application]

PATIENCE_S = 20.0  # all that is waited for comes at once; this is for machines under load
ASK = "/askQuestionWithoutStream"
QUESTION = {"topic": "Redis", "topicQuestion": "What is a stream?"}


class HeldChain:
    """Says one piece and goes on when it is let; `begun` and `cut` count its answers."""

    def __init__(self) -> None:
        self.begun = 0
        self.cut = 0
        self.go_on = asyncio.Event()
        self._changed = asyncio.Condition()

    async def aclose(self) -> None:
        """Hold nothing open."""

    async def stream(self, topic: str, question: str) -> AsyncGenerator[str | Finish]:
        """Answer."""
        async with self._changed:
            self.begun += 1
            self._changed.notify_all()
        yield "One,"
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cut += 1
            raise
        yield " two."
        yield Finish("stop")

    async def load(self, settings: Settings) -> Chain:
        """The loader of this chain."""
        return self

    async def has_begun(self, count: int = 1) -> None:
        """Wait until so many answers have begun."""
        async with asyncio.timeout(PATIENCE_S), self._changed:
            await self._changed.wait_for(lambda: self.begun >= count)


class SharedRedis:
    """An embedded Redis that several processes, as it were, connect to."""

    def __init__(self) -> None:
        self._opened = embedded_redis()

    def connect(self, url: str) -> Storage:
        """A storage of its own around the same clients, which open again after a close."""
        opened = self._opened
        return Storage(opened.commands, opened.writing, opened.blocking)


class Untouchable:
    """A client of Redis that nothing may be asked of."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was used")


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[Client]:
    """Serve the application; ready when the block begins."""
    async with TestClient(TestServer(app)) as client:
        async with asyncio.timeout(PATIENCE_S):
            while (await client.get("/readyz")).status != 200:
                pass
        yield client


def asked(client: Client) -> asyncio.Task[tuple[int, Any]]:
    """Ask in the background; the result is the status and the body."""

    async def post() -> tuple[int, Any]:
        async with client.post(ASK, json=QUESTION) as response:
            return response.status, await response.json()

    return asyncio.create_task(post())


@pytest.fixture
def chain() -> HeldChain:
    """The model."""
    return HeldChain()


# Building


def test_an_application_is_built_without_io(chain: HeldChain) -> None:
    """create_app asks nothing of Redis, loads no model and needs no event loop."""

    def connect(url: str) -> Storage:
        return Storage(commands=Untouchable(), writing=Untouchable(), blocking=Untouchable())

    async def load(settings: Settings) -> Chain:
        raise AssertionError("the model was loaded")

    app = create_app(Settings(), connect=connect, load_chain=load)
    assert isinstance(app, web.Application)


def test_redis_is_where_the_settings_say(chain: HeldChain) -> None:
    """The address is handed to the connector as it is."""
    addresses = []

    def connect(url: str) -> Storage:
        addresses.append(url)
        return embedded_redis()

    create_app(Settings(redis_url="redis://there:1/2"), connect=connect, load_chain=chain.load)
    assert addresses == ["redis://there:1/2"]


async def test_the_real_chain_loads_without_asking_anybody() -> None:
    """The chain of the tutorial can be made without a network, and can answer."""
    chain = await load_configured_chain(Settings(openai_api_key="sk-test", redis_url="redis://x"))
    assert callable(chain.stream)


# Background tasks


async def test_a_model_that_cannot_be_loaded_is_a_failure() -> None:
    """Where the chain fails to load, the process does not go on without a worker."""

    async def load(settings: Settings) -> Chain:
        raise ImportError("no model here")

    app = create_app(Settings(), connect=embedded_redis, load_chain=load)
    async with TestClient(TestServer(app)), asyncio.timeout(PATIENCE_S):
        with pytest.raises(ImportError, match="no model here"):
            await app[BACKGROUND_TASKS].first_failure()


# Drain and end


async def test_draining_lets_running_answers_finish(chain: HeldChain) -> None:
    """Whoever has begun to get an answer gets all of it; then the drain is over."""
    app = create_app(Settings(), connect=embedded_redis, load_chain=chain.load)
    async with serving(app) as client:
        answer = asked(client)
        await chain.has_begun()
        draining = asyncio.create_task(drain(app))
        while (await client.get("/readyz")).status != 503:
            pass
        assert not draining.done()
        chain.go_on.set()
        async with asyncio.timeout(PATIENCE_S):
            await draining
            assert await answer == (200, {"output": "One, two."})
    assert chain.cut == 0


async def test_draining_hands_over_what_takes_too_long(chain: HeldChain) -> None:
    """Past the grace an answer is begun anew by another worker, and whoever waits gets it whole."""
    redis = SharedRedis()
    settings = Settings(shutdown_grace_s=0)
    ending = create_app(settings, connect=redis.connect, load_chain=chain.load)
    server = create_app(settings, with_worker=False, connect=redis.connect, load_chain=chain.load)
    async with serving(server) as client:
        async with serving(ending):
            answer = asked(client)
            await chain.has_begun()
            await drain(ending)
            assert chain.cut == 1
        chain.go_on.set()
        async with run_worker(settings, connect=redis.connect, load_chain=chain.load):
            async with asyncio.timeout(PATIENCE_S):
                assert await answer == (200, {"output": "One, two."})
    assert chain.begun == 2


async def test_draining_takes_nothing_new(chain: HeldChain) -> None:
    """A question that is queued while a worker drains is left to others."""
    redis = SharedRedis()
    draining_one = create_app(Settings(), connect=redis.connect, load_chain=chain.load)
    other = create_app(Settings(), with_worker=False, connect=redis.connect, load_chain=chain.load)
    chain.go_on.set()
    async with serving(other) as client, serving(draining_one):
        await drain(draining_one)
        answer = asked(client)
        async with run_worker(Settings(), connect=redis.connect, load_chain=chain.load):
            async with asyncio.timeout(PATIENCE_S):
                assert await answer == (200, {"output": "One, two."})
    assert chain.begun == 1


async def test_a_server_without_a_worker_drains_at_once(chain: HeldChain) -> None:
    """With no worker there is nothing to wait for; new questions are refused all the same."""
    app = create_app(Settings(), with_worker=False, connect=embedded_redis, load_chain=chain.load)
    async with serving(app) as client:
        async with asyncio.timeout(PATIENCE_S):
            await drain(app)
        status, body = await asked(client)
        assert (status, body["error"]["code"]) == (500, "busy")


async def test_draining_twice_is_draining(chain: HeldChain) -> None:
    """A second drain finds nothing left to do."""
    app = create_app(Settings(), connect=embedded_redis, load_chain=chain.load)
    async with serving(app), asyncio.timeout(PATIENCE_S):
        await drain(app)
        await drain(app)


async def test_nothing_is_left_running(chain: HeldChain) -> None:
    """Once the application is cleaned up, not one of its tasks is left, whatever was at work."""
    before = asyncio.all_tasks()
    app = create_app(Settings(), connect=embedded_redis, load_chain=chain.load)
    async with serving(app) as client:
        answer = asked(client)
        await chain.has_begun()
        answer.cancel()
        await asyncio.wait({answer})
    assert chain.cut == 1
    # fakeredis leaves the readers of its blocked connections behind; a real client does not.
    left = [task for task in asyncio.all_tasks() - before if "AsyncFakeSocket" not in repr(task)]
    assert left == []


# A worker alone


async def test_a_worker_alone_answers(chain: HeldChain) -> None:
    """A server without a worker and a worker without a server meet in Redis."""
    redis = SharedRedis()
    chain.go_on.set()
    app = create_app(Settings(), with_worker=False, connect=redis.connect, load_chain=chain.load)
    async with serving(app) as client:
        async with run_worker(Settings(), connect=redis.connect, load_chain=chain.load):
            async with asyncio.timeout(PATIENCE_S):
                assert await asked(client) == (200, {"output": "One, two."})


async def test_a_question_waits_for_a_worker(chain: HeldChain) -> None:
    """What is asked while there is no worker is answered by the one that comes later."""
    redis = SharedRedis()
    chain.go_on.set()
    app = create_app(Settings(), with_worker=False, connect=redis.connect, load_chain=chain.load)
    async with serving(app) as client:
        answer = asked(client)
        commands = redis.connect("").commands
        async with asyncio.timeout(PATIENCE_S):
            while not await commands.xlen("OPENAI_QUESTIONS"):
                pass
            async with run_worker(Settings(), connect=redis.connect, load_chain=chain.load):
                assert await answer == (200, {"output": "One, two."})
