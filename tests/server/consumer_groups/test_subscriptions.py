"""Subscriptions in consumer-group mode: what is sent stays pending until it is acknowledged."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import replace

import pytest

from backend.protocol.entries import BEGINNING, Chunk, Entry
from backend.protocol.record import Record
from backend.protocol.requests import EVERYBODY
from backend.server.consumer_groups.subscriptions import GroupSubscriptions
from backend.server.consumer_groups.user_groups import UserGroups
from backend.server.question_service import QuestionService
from backend.server.socket_outbox import SocketOutbox
from backend.store.connection import Storage
from backend.store.records import Records
from tests.fakes.rig import PATIENCE_S, in_background, new_ask, whole_answer
from tests.fakes.told_backend import running_subscriptions

pytestmark = pytest.mark.usefixtures("shared_redis")  # it has to start outside of an event loop

STREAM = "OPENAI_STREAM:ann"
GROUP = "OPENAI_STREAM_Grp_ann"

Ack = Callable[..., None]


class StoredAnswers(QuestionService):
    """A question service that gives the entries of a question as they stand in the stream."""

    def __init__(self, storage: Storage) -> None:
        self._redis = storage.commands

    async def follow(self, record: Record, after: str | None = None) -> AsyncGenerator[Entry]:
        """Give them all."""
        for row in await self._redis.xrange(record.stream):
            entry = Entry.parse(*row)
            if entry and entry.question_id == record.question_id:
                yield entry


class Outbox(SocketOutbox):
    """Sockets that are written to at once; what was sent, with what acknowledges it."""

    def __init__(self) -> None:
        self.sent: list[tuple[Chunk, Ack | None]] = []

    async def send(self, sid: str, chunk: Chunk, acknowledged: Ack | None = None) -> None:
        """Send."""
        self.sent.append((chunk, acknowledged))

    def is_written(self, sid: str) -> bool:
        """Yes."""
        return True


class Site:
    """The subscriptions of one open socket, `sid`, and the stream of its user, Ann."""

    def __init__(self, storage: Storage) -> None:
        self.redis = storage.commands
        self.outbox = Outbox()
        self.groups = UserGroups(
            storage, Records(storage, 60), base="OPENAI_STREAM", keep_s=60, lease_s=60
        )
        self.subscriptions = GroupSubscriptions(
            StoredAnswers(storage), self.outbox, max_per_socket=2, groups=self.groups
        )
        self.subscriptions.open("sid")

    async def answered(self) -> Record:
        """A question of Ann's, answered in START, one piece and END."""
        record = Record.queued(new_ask(), STREAM, BEGINNING, "token", "ann")
        for entry in whole_answer(record.question_id, "a"):
            await self.redis.xadd(STREAM, entry.fields())
        return record

    async def send(self, record: Record, user_id: str = "ann") -> list[tuple[Chunk, Ack | None]]:
        """Let the socket follow an answer to its end; returns what it is sent."""
        before = len(self.outbox.sent)
        await self.subscriptions.start("sid", user_id, record)
        await asyncio.wait(running_subscriptions(), timeout=PATIENCE_S)
        return self.outbox.sent[before:]

    async def pending(self, count: int) -> None:
        """Wait until so many entries are pending."""
        async with asyncio.timeout(PATIENCE_S):
            while (await self.redis.xpending(STREAM, GROUP))["pending"] != count:
                pass  # a round trip: what acknowledges gets its turn meanwhile


@pytest.fixture
async def site(storage: Storage) -> AsyncIterator[Site]:
    """Groups at work."""
    site = Site(storage)
    async with in_background(site.groups.run()):
        yield site
        await site.subscriptions.close()


async def test_entries_are_pending_until_the_client_acknowledges(site: Site) -> None:
    """The first entry and the END ask for an acknowledgement, which covers what was sent before."""
    (_, first), (_, second), (_, last) = await site.send(await site.answered())
    await site.pending(3)
    assert second is None
    assert first
    first()
    await site.pending(2)
    assert last
    last()
    await site.pending(0)


async def test_a_second_reading_is_marked(site: Site) -> None:
    """What Ann may have already is sent as redelivered, received or not."""
    record = await site.answered()
    first = await site.send(record)
    again = await site.send(replace(record, attempt=1))
    assert ["redelivered" in meta for (_, meta), _ in first] == [False] * 3
    assert ["redelivered" in meta for (_, meta), _ in again] == [True] * 3


async def test_a_socket_that_has_gone_acknowledges_nothing(site: Site) -> None:
    """What comes after the disconnect is too late: the entries stay pending."""
    *_, (_, last) = await site.send(await site.answered())
    await site.subscriptions.drop("sid")
    assert last
    last()
    await site.pending(3)


@pytest.mark.parametrize("user_id", [EVERYBODY, "ben"])
async def test_an_answer_of_another_user_is_only_read(site: Site, user_id: str) -> None:
    """Who reads along is sent the same, is asked for nothing, and leaves the group alone."""
    record = await site.answered()
    sent = await site.send(record, user_id)
    assert [text for (text, _), _ in sent] == [
        entry.text for entry in whole_answer(record.question_id, "a")
    ]
    assert [acknowledged for _, acknowledged in sent] == [None] * 3
    assert await site.redis.xinfo_groups(STREAM) == []


async def test_an_answer_of_the_other_mode_is_only_read(site: Site) -> None:
    """What stands in the stream of all users belongs to no group."""
    record = replace(await site.answered(), stream="OPENAI_STREAM")
    await site.redis.rename(STREAM, "OPENAI_STREAM")
    assert len(await site.send(record)) == 3
    assert await site.redis.xinfo_groups("OPENAI_STREAM") == []
