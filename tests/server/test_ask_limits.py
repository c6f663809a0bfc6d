"""Limits: who is over one is refused with a hint, and others are not."""

import asyncio

import pytest

from backend.protocol.entries import BEGINNING
from backend.protocol.errors import Busy, RateLimited
from backend.protocol.record import Record
from backend.protocol.requests import new_question_id
from backend.server.ask_limits import AskLimits, SocketLimits
from backend.server.auth import Visitor
from backend.settings import Settings
from backend.store import work_queue
from backend.store.connection import Storage
from backend.store.records import Records
from tests.fakes.rig import DONE, STREAM, new_ask

pytestmark = pytest.mark.usefixtures("shared_redis")  # it has to start outside of an event loop

ANN = Visitor("ann", "1.1.1.1", verified=True)
ANN_ELSEWHERE = Visitor("ann", "2.2.2.2", verified=True)
BEN = Visitor("ben", "1.1.1.1", verified=True)
SOMEBODY = Visitor("ann", "3.3.3.3")


class Site:
    """Two servers with the same limits, in front of one Redis."""

    def __init__(self, storage: Storage, **settings: int) -> None:
        self.storage = storage
        self.questions = Records(storage, 60)
        self.limits = AskLimits(storage, self.questions, Settings(**settings))  # type: ignore[arg-type]
        self.elsewhere = AskLimits(storage, self.questions, Settings(**settings))  # type: ignore[arg-type]

    async def ask(self, visitor: Visitor, limits: AskLimits | None = None) -> str:
        """Ask something new, and have it queued."""
        ask = new_ask()
        await (limits or self.limits).admit(visitor, ask.question_id)
        record = Record.queued(ask, STREAM, BEGINNING, "token", visitor.user_id)
        await self.questions.create(record, work_queue.put(ask.question_id, "token"))
        return ask.question_id

    async def end(self, question_id: str) -> None:
        """Let a question end, as its worker does: nobody tells the limits."""
        await self.questions.change(question_id, lambda now: now.begun("w", None))
        await self.questions.change(question_id, lambda now: now.closed("w", DONE, "1-1", "1-2"))


async def test_asks_a_minute(storage: Storage) -> None:
    """So many at once, then no more for a while, on any server; the hint says for how long."""
    site = Site(storage, asks_per_minute=3)
    for limits in (site.limits, site.elsewhere, site.limits):
        await site.ask(SOMEBODY, limits)
    with pytest.raises(RateLimited) as refused:
        await site.ask(SOMEBODY, site.elsewhere)
    assert refused.value.payload["code"] == "rate_limited"
    assert refused.value.payload["retryable"]
    assert 15 <= refused.value.payload["retryAfterS"] <= 20
    await site.ask(ANN)


async def test_a_refused_ask_costs_nothing(storage: Storage) -> None:
    """Trying again and again does not make the wait longer."""
    site = Site(storage, asks_per_minute=1)
    await site.ask(SOMEBODY)
    for _ in range(5):
        with pytest.raises(RateLimited) as refused:
            await site.ask(SOMEBODY)
    assert (refused.value.retry_after_s or 0) <= 60


async def test_tokens_come_back(storage: Storage) -> None:
    """The bucket fills at its rate: with many a minute the next one is there in a moment."""
    site = Site(storage, asks_per_minute=600)
    await asyncio.gather(*(site.ask(SOMEBODY) for _ in range(200)))
    (key,) = await storage.commands.keys("OPENAI_LIMITS:asks:*")
    assert 0 < await storage.commands.pttl(key) <= 60_000


async def test_a_user_is_counted_wherever_they_are(storage: Storage) -> None:
    """One user from two addresses is one user; two from one address share the address's limit."""
    site = Site(storage, asks_per_minute=2)
    await site.ask(ANN)
    await site.ask(ANN_ELSEWHERE)
    with pytest.raises(RateLimited):
        await site.ask(Visitor("ann", "9.9.9.9", verified=True))
    await site.ask(BEN)
    with pytest.raises(RateLimited):
        await site.ask(BEN)


async def test_a_name_that_anybody_can_take_is_not_counted(storage: Storage) -> None:
    """Without identity, strangers who share a name do not share its limit."""
    site = Site(storage, asks_per_minute=1)
    await site.ask(Visitor("USER1", "1.1.1.1"))
    await site.ask(Visitor("USER1", "2.2.2.2"))


async def test_running_at_once(storage: Storage) -> None:
    """Over the limit is busy; where one has ended, however it did, there is room again."""
    site = Site(storage, max_running_per_user=2)
    first = await site.ask(ANN)
    await site.ask(ANN)
    with pytest.raises(Busy) as refused:
        await site.ask(ANN_ELSEWHERE, site.elsewhere)
    assert refused.value.payload["retryAfterS"] > 0
    await site.end(first)
    await site.ask(ANN)
    with pytest.raises(Busy):
        await site.ask(ANN)
    await site.ask(BEN)


async def test_asking_twice_is_not_one_more(storage: Storage) -> None:
    """Repeating a question that runs is let through."""
    site = Site(storage, max_running_per_address=1)
    question_id = await site.ask(SOMEBODY)
    await site.limits.admit(SOMEBODY, question_id)
    with pytest.raises(Busy):
        await site.limits.admit(SOMEBODY, new_question_id())


async def test_a_full_queue(storage: Storage) -> None:
    """Questions that would only wait are refused; those in work do not count."""
    site = Site(storage, max_queued=2)
    queue, group = work_queue.QUEUE_STREAM, work_queue.QUEUE_GROUP
    await storage.commands.xgroup_create(queue, group, id="0", mkstream=True)
    await site.ask(SOMEBODY)
    await site.ask(SOMEBODY)
    with pytest.raises(Busy):
        await site.ask(ANN)
    await storage.commands.xreadgroup(group, "worker", {queue: ">"}, count=1)
    await site.ask(ANN)
    with pytest.raises(Busy):
        await site.ask(ANN)


async def test_a_queue_that_no_worker_has_seen(storage: Storage) -> None:
    """Before the first worker has made its group, everything waits."""
    site = Site(storage, max_queued=1)
    await site.ask(SOMEBODY)
    with pytest.raises(Busy):
        await site.ask(SOMEBODY)


async def test_what_is_counted_expires(storage: Storage) -> None:
    """Nothing of it stays in Redis for ever."""
    site = Site(storage)
    await site.ask(ANN)
    keys = await storage.commands.keys("OPENAI_LIMITS:*")
    assert len(keys) == 4
    for key in keys:
        assert await storage.commands.pttl(key) > 0, key


async def test_no_limit(storage: Storage) -> None:
    """Zero switches a limit off, and asks Redis nothing."""
    site = Site(
        storage,
        asks_per_minute=0,
        max_running_per_user=0,
        max_running_per_address=0,
        max_queued=0,
    )
    for _ in range(5):
        await site.ask(ANN)
    assert await storage.commands.keys("OPENAI_LIMITS:*") == []


def test_sockets_of_an_address_and_in_all() -> None:
    """A socket over either limit is refused and not counted; one that leaves makes room."""
    limits = SocketLimits(Settings(max_sockets=3, max_sockets_per_address=2))
    limits.add("a")
    limits.add("a")
    with pytest.raises(Busy, match="this address"):
        limits.add("a")
    limits.add("b")
    with pytest.raises(Busy, match="people"):
        limits.add("c")
    limits.remove("a")
    limits.add("c")
    with pytest.raises(Busy):
        limits.add("a")
