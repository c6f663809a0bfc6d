"""Subscriptions by themselves: what a socket's coming and going, seen from outside, cannot tell."""

import asyncio
from collections.abc import AsyncGenerator, Callable

import pytest

from backend.protocol.entries import Chunk, Ending, Entry
from backend.protocol.errors import Busy, Expired, ModelTimeout
from backend.protocol.record import Record
from backend.protocol.requests import EVERYBODY, new_question_id
from backend.server.question_service import QuestionService
from backend.server.socket_outbox import SocketOutbox
from backend.server.subscriptions import Subscriptions
from tests.fakes.rig import PATIENCE_S, STREAM, end, new_ask, open_answer, whole_answer
from tests.fakes.told_backend import running_subscriptions


class ToldService(QuestionService):
    """A question service whose answers consist of what a test has put here."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[Entry | Exception] = asyncio.Queue()
        self.followed: list[str | None] = []  # where each subscription has started
        self.ended = 0
        self._begun = asyncio.Condition()
        self.unwinding = asyncio.Event()
        self.may_unwind = asyncio.Event()
        self.may_unwind.set()

    async def follow(self, record: Record, after: str | None = None) -> AsyncGenerator[Entry]:
        """Give what is told, up to the END; a subscription that is cancelled takes its time."""
        async with self._begun:
            self.followed.append(after)
            self._begun.notify_all()
        try:
            while True:
                entry = await self.told.get()
                if isinstance(entry, Exception):
                    raise entry
                yield entry
                if entry.ending:
                    return
        finally:
            self.unwinding.set()
            await self.may_unwind.wait()
            self.ended += 1

    async def following(self, times: int) -> None:
        """Wait until so many subscriptions in all have started."""
        async with asyncio.timeout(PATIENCE_S), self._begun:
            await self._begun.wait_for(lambda: len(self.followed) >= times)

    def say(self, *entries: Entry | Exception) -> None:
        """Go on with the answer."""
        for entry in entries:
            self.told.put_nowait(entry)


class Outbox(SocketOutbox):
    """Takes chunks, and tells when one has come."""

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self.sids: set[str] = set()
        self._received = asyncio.Condition()

    async def send(
        self, sid: str, chunk: Chunk, acknowledged: Callable[..., None] | None = None
    ) -> None:
        """Take one chunk."""
        async with self._received:
            self.chunks.append(chunk)
            self.sids.add(sid)
            self._received.notify_all()

    async def received(self, count: int) -> list[Chunk]:
        """Wait for so many chunks."""
        async with asyncio.timeout(PATIENCE_S), self._received:
            await self._received.wait_for(lambda: len(self.chunks) >= count)
        return self.chunks


@pytest.fixture
def service() -> ToldService:
    """Nothing has been said."""
    return ToldService()


@pytest.fixture
def outbox() -> Outbox:
    """Nothing has come."""
    return Outbox()


@pytest.fixture
def subscriptions(service: ToldService, outbox: Outbox) -> Subscriptions:
    """The subscriptions of one open socket, `sid`, which may have two."""
    subscriptions = Subscriptions(service, outbox, max_per_socket=2)
    subscriptions.open("sid")
    return subscriptions


def record(attempt: int = 1) -> Record:
    """The record of a question in work."""
    queued = Record.queued(new_ask(), STREAM, "0-0", "token")
    for number in range(attempt):
        queued = queued.begun(f"owner {number}", None)
    return queued


async def test_entries_are_sent_as_chunks(
    subscriptions: Subscriptions, service: ToldService, outbox: Outbox
) -> None:
    """Every entry becomes one chunk for the socket that asked, from behind the given cursor."""
    asked = record()
    entries = whole_answer(asked.question_id, "a", "b")
    service.say(*entries)
    await subscriptions.start("sid", EVERYBODY, asked, "1-1")
    assert await outbox.received(4) == [entry.chunk() for entry in entries]
    assert (service.followed, outbox.sids) == (["1-1"], {"sid"})


async def test_a_failed_end_is_announced(
    subscriptions: Subscriptions, service: ToldService, outbox: Outbox
) -> None:
    """Before an END that tells of a failure comes one line for people, of the same attempt."""
    asked = record()
    failed = end(asked.question_id, attempt=2, ending=Ending.failed(ModelTimeout()))
    service.say(failed)
    await subscriptions.start("sid", EVERYBODY, asked)
    line, last = await outbox.received(2)
    assert line[0] == ModelTimeout().payload["message"]
    assert line[1] == {"questionId": asked.question_id, "attempt": 2, "notice": True}
    assert last == failed.chunk()


async def test_a_break_belongs_to_the_attempt_that_is_shown(
    subscriptions: Subscriptions, service: ToldService, outbox: Outbox
) -> None:
    """Where reading breaks off, the END is of the newest attempt that came, or is recorded."""
    asked = record(attempt=2)
    service.say(*open_answer(asked.question_id, attempt=3), Expired())
    await subscriptions.start("sid", EVERYBODY, asked)
    _, line, last = await outbox.received(3)
    assert (line[1]["attempt"], last[1]["attempt"]) == (3, 3)
    service.say(Expired())
    await subscriptions.start("sid", EVERYBODY, asked)
    *_, line, last = await outbox.received(5)
    assert (line[1]["attempt"], last[1]["attempt"]) == (2, 2)


async def test_a_socket_that_never_opened_gets_no_subscription(
    subscriptions: Subscriptions, service: ToldService
) -> None:
    """For a socket that nobody knows, or knows any more, nothing is started."""
    await subscriptions.start("nobody", EVERYBODY, record())
    await subscriptions.drop("sid")
    await subscriptions.start("sid", EVERYBODY, record())
    assert running_subscriptions() == []
    assert service.followed == []


async def test_dropping_ends_all_subscriptions_of_that_socket_alone(
    subscriptions: Subscriptions, service: ToldService
) -> None:
    """On return the socket's subscriptions have ended; those of others go on."""
    subscriptions.open("other")
    for sid in ("sid", "sid", "other"):
        await subscriptions.start(sid, EVERYBODY, record())
    await service.following(3)
    await subscriptions.drop("sid")
    assert (service.ended, len(running_subscriptions())) == (2, 1)
    await subscriptions.close()


async def test_dropping_twice_and_unknown_is_dropping(subscriptions: Subscriptions) -> None:
    """There need not be anything to drop."""
    for sid in ("sid", "sid", "nobody"):
        await subscriptions.drop(sid)


async def test_after_the_close_nothing_starts(
    subscriptions: Subscriptions, service: ToldService
) -> None:
    """On return none is left; what is looked up just then starts none. Closing may repeat."""
    await subscriptions.start("sid", EVERYBODY, record())
    await service.following(1)
    await subscriptions.close()
    await subscriptions.start("sid", EVERYBODY, record())
    await subscriptions.close()
    assert running_subscriptions() == []
    assert (len(service.followed), service.ended) == (1, 1)


async def test_subscriptions_never_overlap(
    subscriptions: Subscriptions, service: ToldService
) -> None:
    """The one that is replaced has ended before the next one starts."""
    asked = record()
    await subscriptions.start("sid", EVERYBODY, asked)
    await service.following(1)
    service.may_unwind.clear()
    replacing = asyncio.create_task(subscriptions.start("sid", EVERYBODY, asked))
    await service.unwinding.wait()
    assert len(service.followed) == 1
    service.may_unwind.set()
    await replacing
    await service.following(2)
    assert service.ended == 1
    await subscriptions.close()


async def test_many_resumes_at_once_leave_one_subscription(
    subscriptions: Subscriptions, service: ToldService, outbox: Outbox
) -> None:
    """However often a socket resumes at one moment, each piece comes once."""
    asked = record()
    await asyncio.gather(*(subscriptions.start("sid", EVERYBODY, asked) for _ in range(5)))
    await asyncio.sleep(0)
    assert len(running_subscriptions()) == 1
    service.say(*whole_answer(asked.question_id, "a"))
    await outbox.received(3)
    await subscriptions.close()
    assert len(outbox.chunks) == 3


async def test_a_socket_that_goes_while_one_is_replaced_gets_none(
    subscriptions: Subscriptions, service: ToldService
) -> None:
    """Gone while the old subscription still unwinds, a socket is left without a new one."""
    asked = record()
    await subscriptions.start("sid", EVERYBODY, asked)
    await service.following(1)
    service.may_unwind.clear()
    replacing = asyncio.create_task(subscriptions.start("sid", EVERYBODY, asked))
    await service.unwinding.wait()
    await subscriptions.drop("sid")
    service.may_unwind.set()
    await replacing
    assert running_subscriptions() == []
    assert len(service.followed) == 1


async def test_a_reservation_that_comes_to_nothing_is_released(
    subscriptions: Subscriptions,
) -> None:
    """Where the look-up fails, another question may be followed."""
    for _ in range(3):
        with pytest.raises(Expired), subscriptions.reserve("sid", new_question_id()):
            raise Expired
    with (
        subscriptions.reserve("sid", new_question_id()),
        subscriptions.reserve("sid", new_question_id()),
    ):
        pass


async def test_reservations_count(subscriptions: Subscriptions) -> None:
    """What is being looked up counts; that of other sockets does not."""
    with (
        subscriptions.reserve("sid", new_question_id()),
        subscriptions.reserve("sid", new_question_id()),
    ):
        with pytest.raises(Busy), subscriptions.reserve("sid", new_question_id()):
            pass
        with subscriptions.reserve("other", new_question_id()):
            pass
