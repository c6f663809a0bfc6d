"""Wishes to stop: every worker hears of them, and an outage does not end the listening."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from backend.store.connection import Storage, connect, insist
from backend.store.stop_signals import STOP_STREAM, StopSignals
from tests.fakes.gated_redis import GatedRedis
from tests.fakes.programs import RedisServer
from tests.fakes.rig import PATIENCE_S, in_background

pytestmark = pytest.mark.usefixtures("shared_redis")  # it has to start outside of an event loop


class Listener:
    """A worker that does nothing but listen."""

    def __init__(self, storage: Storage) -> None:
        self.heard: asyncio.Queue[str] = asyncio.Queue()
        self._stops = StopSignals(storage)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen until the block is left."""
        async with in_background(self.listen()):
            await self.hearing()
            yield

    async def hearing(self) -> None:
        """Send wishes until one is heard: from then on, none is missed until an outage."""
        sent = []
        async with asyncio.timeout(PATIENCE_S):
            while self.heard.empty():
                sent.append(uuid.uuid4().hex)
                await insist(lambda: self._stops.send(sent[-1]))
            while await self.heard.get() != sent[-1]:
                pass

    async def next(self) -> str:
        """The next wish it hears."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.heard.get()

    async def listen(self) -> None:
        """Gather every wish; never ends by itself."""
        async for question_id in self._stops.listen():
            self.heard.put_nowait(question_id)


async def test_every_listener_hears_every_wish(storage: Storage) -> None:
    """A wish reaches all workers, as nobody knows which of them has the question."""
    one, other = Listener(storage), Listener(storage)
    async with one.listening(), other.listening():
        for question_id in ("a", "b", "c"):
            await StopSignals(storage).send(question_id)
        while (first := await one.next()) != "a":
            pass  # the wishes by which the other one found out that it hears
        assert [first, await one.next(), await one.next()] == ["a", "b", "c"]
        assert [await other.next() for _ in range(3)] == ["a", "b", "c"]


async def test_wishes_that_come_together_are_all_heard(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More wishes at once than one read takes are heard one after the other."""
    monkeypatch.setattr("backend.store.stop_signals.SIGNALS_PER_READ", 3)
    wishes = [str(number) for number in range(20)]
    listener = Listener(storage)
    async with listener.listening():
        async with storage.commands.pipeline(transaction=True) as pipe:
            for question_id in wishes:
                pipe.xadd(STOP_STREAM, {"questionId": question_id})
            await pipe.execute()
        assert [await listener.next() for _ in wishes] == wishes


async def test_old_wishes_are_not_heard(storage: Storage) -> None:
    """A worker that starts hears nothing of what was to be stopped before it was there."""
    stops = StopSignals(storage)
    await stops.send("old")
    listener = Listener(storage)
    async with in_background(listener.listen()):
        async with asyncio.timeout(PATIENCE_S):
            while listener.heard.empty():
                await stops.send("new")
        assert await listener.next() == "new"


async def test_entries_of_other_programs_do_not_stop_the_listening(storage: Storage) -> None:
    """What is no wish of ours is passed over as a wish for nobody."""
    listener = Listener(storage)
    async with listener.listening():
        await storage.commands.xadd(STOP_STREAM, {"something": "else"})
        await StopSignals(storage).send("q")
        assert [await listener.next(), await listener.next()] == ["", "q"]


async def test_the_stream_stays_short(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old wishes are trimmed while new ones are sent."""
    monkeypatch.setattr("backend.store.stop_signals.SIGNALS_KEPT", 10)
    stops = StopSignals(storage)
    for number in range(300):
        await stops.send(str(number))
    assert await storage.commands.xlen(STOP_STREAM) < 200  # Redis trims whole nodes of 100


async def test_listening_waits_out_a_failing_redis(storage: Storage) -> None:
    """A listener whose reads fail hears again once they succeed."""
    gate = GatedRedis(storage.blocking)
    listener = Listener(Storage(commands=storage.commands, writing=storage.writing, blocking=gate))
    gate.refuse("xread", 2)
    async with listener.listening():
        assert gate.count("xread") >= 3


async def test_listening_survives_a_restart(own_redis: RedisServer) -> None:
    """A listener hears again after Redis was restarted."""
    async with connect(own_redis.url) as storage:
        listener = Listener(storage)
        async with listener.listening():
            own_redis.kill()
            await asyncio.to_thread(own_redis.start)
            await listener.hearing()
