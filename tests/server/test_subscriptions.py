"""Readers by themselves: what a socket's coming and going, seen from outside, cannot tell."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from backend.protocol.entries import Chunk, Ending, Entry
from backend.protocol.errors import Busy, Expired, ModelTimeout
from backend.protocol.record import Record
from backend.protocol.requests import EVERYBODY, new_question_id
from backend.server.question_service import Answers
from backend.server.socket_acks import Received
from backend.server.subscriptions import Readers
from tests.fakes.rig import PATIENCE_S, PLAIN, STREAM, end, new_ask, open_answer, whole_answer


class ToldAnswers(Answers):
    """Answers that consist of what a test has put here."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[Entry | Exception] = asyncio.Queue()
        self.followed: list[str | None] = []  # where each reader has begun
        self.ended = 0
        self._begun = asyncio.Condition()
        self.unwinding = asyncio.Event()
        self.may_unwind = asyncio.Event()
        self.may_unwind.set()

    async def follow(self, record: Record, after: str | None = None) -> AsyncGenerator[Entry]:
        """Give what is told, up to the END; a reader that is cancelled takes its time."""
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
        """Wait until so many readers in all have begun to follow."""
        async with asyncio.timeout(PATIENCE_S), self._begun:
            await self._begun.wait_for(lambda: len(self.followed) >= times)

    def say(self, *entries: Entry | Exception) -> None:
        """Go on with the answer."""
        for entry in entries:
            self.told.put_nowait(entry)


class Socket:
    """Takes chunks, and tells when one has come."""

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self.sids: set[str] = set()
        self._received = asyncio.Condition()

    async def emit(self, sid: str, chunk: Chunk, received: Received | None = None) -> None:
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
def answers() -> ToldAnswers:
    """Nothing has been said."""
    return ToldAnswers()


@pytest.fixture
def socket() -> Socket:
    """Nothing has come."""
    return Socket()


@pytest.fixture
def readers(answers: ToldAnswers, socket: Socket) -> Readers:
    """The readers of one open socket, `sid`, which may have two."""
    readers = Readers(answers, PLAIN, socket.emit, 2)
    readers.open("sid")
    return readers


def record(attempt: int = 1) -> Record:
    """The record of a question in work."""
    queued = Record.queued(new_ask(), STREAM, "0-0", "token")
    for number in range(attempt):
        queued = queued.begun(f"owner {number}", None)
    return queued


def running() -> list[asyncio.Task[Any]]:
    """The tasks that read an answer for a socket."""
    return [task for task in asyncio.all_tasks() if "Readers._forward" in repr(task)]


async def test_entries_are_sent_as_chunks(
    readers: Readers, answers: ToldAnswers, socket: Socket
) -> None:
    """Every entry becomes one chunk for the socket that asked, from behind the given place."""
    asked = record()
    entries = whole_answer(asked.question_id, "a", "b")
    answers.say(*entries)
    await readers.start("sid", EVERYBODY, asked, "1-1")
    assert await socket.received(4) == [entry.chunk() for entry in entries]
    assert (answers.followed, socket.sids) == (["1-1"], {"sid"})


async def test_a_failed_end_is_announced(
    readers: Readers, answers: ToldAnswers, socket: Socket
) -> None:
    """Before an END that tells of a failure comes one line for people, of the same attempt."""
    asked = record()
    failed = end(asked.question_id, attempt=2, ending=Ending.failed(ModelTimeout()))
    answers.say(failed)
    await readers.start("sid", EVERYBODY, asked)
    line, last = await socket.received(2)
    assert line[0] == ModelTimeout().payload["message"]
    assert line[1] == {"questionId": asked.question_id, "attempt": 2, "notice": True}
    assert last == failed.chunk()


async def test_a_break_belongs_to_the_attempt_that_is_shown(
    readers: Readers, answers: ToldAnswers, socket: Socket
) -> None:
    """Where reading breaks off, the END is of the newest attempt that came, or is recorded."""
    asked = record(attempt=2)
    answers.say(*open_answer(asked.question_id, attempt=3), Expired())
    await readers.start("sid", EVERYBODY, asked)
    _, line, last = await socket.received(3)
    assert (line[1]["attempt"], last[1]["attempt"]) == (3, 3)
    answers.say(Expired())
    await readers.start("sid", EVERYBODY, asked)
    *_, line, last = await socket.received(5)
    assert (line[1]["attempt"], last[1]["attempt"]) == (2, 2)


async def test_a_socket_that_never_opened_gets_no_reader(
    readers: Readers, answers: ToldAnswers
) -> None:
    """For a socket that nobody knows, or knows any more, nothing is started."""
    await readers.start("nobody", EVERYBODY, record())
    await readers.drop("sid")
    await readers.start("sid", EVERYBODY, record())
    assert running() == []
    assert answers.followed == []


async def test_dropping_ends_all_readers_of_that_socket_alone(
    readers: Readers, answers: ToldAnswers
) -> None:
    """On return the readers of the socket have ended; those of others read on."""
    readers.open("other")
    for sid in ("sid", "sid", "other"):
        await readers.start(sid, EVERYBODY, record())
    await answers.following(3)
    await readers.drop("sid")
    assert (answers.ended, len(running())) == (2, 1)
    await readers.close()


async def test_dropping_twice_and_unknown_is_dropping(readers: Readers) -> None:
    """There need not be anything to drop."""
    for sid in ("sid", "sid", "nobody"):
        await readers.drop(sid)


async def test_after_the_close_nothing_starts(readers: Readers, answers: ToldAnswers) -> None:
    """On return no reader is left; what is looked up just then starts none. Closing may repeat."""
    await readers.start("sid", EVERYBODY, record())
    await answers.following(1)
    await readers.close()
    await readers.start("sid", EVERYBODY, record())
    await readers.close()
    assert running() == []
    assert (len(answers.followed), answers.ended) == (1, 1)


async def test_readers_never_overlap(readers: Readers, answers: ToldAnswers) -> None:
    """The reader that is replaced has ended before the next one begins."""
    asked = record()
    await readers.start("sid", EVERYBODY, asked)
    await answers.following(1)
    answers.may_unwind.clear()
    replacing = asyncio.create_task(readers.start("sid", EVERYBODY, asked))
    await answers.unwinding.wait()
    assert len(answers.followed) == 1
    answers.may_unwind.set()
    await replacing
    await answers.following(2)
    assert answers.ended == 1
    await readers.close()


async def test_many_resumes_at_once_leave_one_reader(
    readers: Readers, answers: ToldAnswers, socket: Socket
) -> None:
    """However often a socket resumes at one moment, each piece comes once."""
    asked = record()
    await asyncio.gather(*(readers.start("sid", EVERYBODY, asked) for _ in range(5)))
    await asyncio.sleep(0)
    assert len(running()) == 1
    answers.say(*whole_answer(asked.question_id, "a"))
    await socket.received(3)
    await readers.close()
    assert len(socket.chunks) == 3


async def test_a_socket_that_goes_while_its_reader_is_replaced_gets_none(
    readers: Readers, answers: ToldAnswers
) -> None:
    """Gone while the old reader still unwinds, a socket is left without a new one."""
    asked = record()
    await readers.start("sid", EVERYBODY, asked)
    await answers.following(1)
    answers.may_unwind.clear()
    replacing = asyncio.create_task(readers.start("sid", EVERYBODY, asked))
    await answers.unwinding.wait()
    await readers.drop("sid")
    answers.may_unwind.set()
    await replacing
    assert running() == []
    assert len(answers.followed) == 1


async def test_a_place_that_comes_to_nothing_is_free_again(readers: Readers) -> None:
    """Where the look-up fails, the place is not lost."""
    for _ in range(3):
        with pytest.raises(Expired), readers.place("sid", new_question_id()):
            raise Expired
    with readers.place("sid", new_question_id()), readers.place("sid", new_question_id()):
        pass


async def test_places_are_counted_before_their_readers_start(readers: Readers) -> None:
    """What is being looked up counts; places of other sockets do not."""
    with readers.place("sid", new_question_id()), readers.place("sid", new_question_id()):
        with pytest.raises(Busy), readers.place("sid", new_question_id()):
            pass
        with readers.place("other", new_question_id()):
            pass
