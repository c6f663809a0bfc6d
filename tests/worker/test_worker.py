"""Workers: every question that is taken ends once, whatever happens to who takes it."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from backend.app import Backend
from backend.llm.base import Chain, Finish, Piece, Reasoning
from backend.protocol.entries import BEGINNING, Ending, Entry, Usage
from backend.protocol.errors import ModelUnavailable, StorageUnavailable
from backend.protocol.record import Record
from backend.protocol.requests import Ask, new_question_id
from backend.protocol.transcript import Transcript
from backend.runtime.task_groups import Parts
from backend.settings import Settings
from backend.store.connection import Storage, connect
from backend.store.embedded_redis import EmbeddedRedis
from backend.store.records import Questions, question_key
from backend.store.work_queue import GROUP
from backend.store.work_queue import STREAM as QUEUE
from backend.worker.patience import THOUGHT_TOO_LONG
from backend.worker.worker import CLAIM_AT_ONCE, HEARTBEATS_PER_LEASE, Worker
from tests.fakes.programs import RedisServer

pytestmark = pytest.mark.usefixtures("shared_redis")  # it has to start outside of an event loop

PATIENCE_S = 10.0  # all that is waited for comes soon; this is for machines under load
LEASE_S = 0.5  # the shortest there is
STOP = Finish("stop")
TOPIC, QUESTION = "the sea", "why is it salty?"


# Chains

Step = Piece | Exception | asyncio.Event


class FakeChain:
    """Answers every question with the same steps: a piece is said, an event is waited for."""

    def __init__(self, *steps: Step) -> None:
        self.asked: list[tuple[str, str]] = []
        self.closed = asyncio.Event()
        self._steps = steps

    async def aclose(self) -> None:
        """Hold nothing open."""

    async def stream(self, topic: str, question: str) -> AsyncGenerator[Piece]:
        """Go through the steps."""
        self.asked.append((topic, question))
        try:
            for step in self._steps:
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, asyncio.Event):
                    await step.wait()
                else:
                    yield step
        finally:
            self.closed.set()


def silence() -> asyncio.Event:
    """A step that lasts for ever."""
    return asyncio.Event()


class TalkativeChain:
    """Never comes to an end."""

    async def aclose(self) -> None:
        """Hold nothing open."""

    async def stream(self, topic: str, question: str) -> AsyncGenerator[Piece]:
        """Say the same word again and again."""
        while True:
            yield "again "
            await asyncio.sleep(0)


class StubbornChain:
    """Swallows the first cancellation, as a library may that waits with asyncio.wait_for."""

    async def aclose(self) -> None:
        """Hold nothing open."""

    async def stream(self, topic: str, question: str) -> AsyncGenerator[Piece]:
        """Say one word, then nothing."""
        yield "half "
        try:
            await silence().wait()
        except asyncio.CancelledError:
            await silence().wait()


# A server, its workers, and what stands in Redis


class Site:
    """A server around one Redis, to which workers can be added."""

    def __init__(self, storage: Storage, connect: Callable[[], Storage]) -> None:
        self.redis = storage.commands
        self._connect = connect
        self._questions = Questions(storage, 60)
        self._server = Backend(storage, Settings(), _no_chain)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Site"]:
        """Run the server; questions can be asked when the block begins."""
        async with Parts(self._server.writer.run, self._server.tail.run):
            while not self._can_be_asked():
                await self.redis.ping()  # a round trip: the tail gets its turn meanwhile
            yield self

    def _can_be_asked(self) -> bool:
        try:
            self._server.tail.require()
        except StorageUnavailable:
            return False
        return True

    @asynccontextmanager
    async def worker(self, chain: Chain, **settings: Any) -> AsyncIterator[Worker]:
        """Run a worker; where the block is left without a drain, it dies in the middle of work."""

        async def load(_: Settings) -> Chain:
            return chain

        storage = self._connect()
        backend = Backend(storage, replace(Settings(lease_s=LEASE_S), **settings), load)
        async with Parts(backend.writer.run, backend.worker.run):
            yield backend.worker
        if storage.commands is not self.redis:
            await storage.__aexit__()

    async def ask(self, question_id: str = "") -> Record:
        """Ask a question."""
        return await self._server.answers.ask(
            Ask(question_id or new_question_id(), TOPIC, QUESTION)
        )

    async def stop(self, record: Record) -> Record:
        """Stop a question, as a client does."""
        return await self._server.answers.stop(record.question_id)

    async def read(self, record: Record) -> list[Entry]:
        """Follow an answer to its end."""
        async with asyncio.timeout(PATIENCE_S):
            return [entry async for entry in self._server.answers.follow(record)]

    async def heard(self, record: Record, text: str) -> None:
        """Wait until this has been said."""
        said: list[Entry] = []
        async with (
            asyncio.timeout(PATIENCE_S),
            aclosing(self._server.answers.follow(record)) as entries,
        ):
            async for entry in entries:
                said.append(entry)
                if words(said) == text:
                    return
        raise AssertionError(f"ended without having said {text!r}")

    async def changed(self, record: Record, transition: Callable[[Record], Record]) -> Record:
        """Change the record, as another process does."""
        return await self._questions.change(record.question_id, transition)

    async def thought(self, record: Record) -> None:
        """Wait until something has been thought."""
        async with (
            asyncio.timeout(PATIENCE_S),
            aclosing(self._server.answers.follow(record)) as entries,
        ):
            async for entry in entries:
                if entry.reasoning:
                    return

    async def settled(self, record: Record) -> Record:
        """Wait until nothing is queued and nothing in work; the record as it stands then."""
        async with asyncio.timeout(PATIENCE_S):
            while await self.redis.xlen(QUEUE):
                pass  # a round trip: the worker gets its turn meanwhile
        assert (await self.redis.xpending(QUEUE, GROUP))["pending"] == 0
        return await self._questions.read(record.question_id)

    async def stored(self, record: Record) -> list[Entry]:
        """What stands in the stream of this answer."""
        rows = await self.redis.xrange(record.stream, min=f"({BEGINNING}")
        entries = [entry for row in rows if (entry := Entry.parse(*row))]
        return [entry for entry in entries if entry.question_id == record.question_id]


async def _no_chain(_: Settings) -> Chain:
    raise AssertionError("a server runs no chain")


def words(entries: list[Entry]) -> str:
    """What a page shows in the end: the pieces behind the last START."""
    text = ""
    for entry in entries:
        text = "" if entry.is_start else text + entry.text if entry.is_piece else text
    return text


def outcome(entries: list[Entry]) -> tuple[str, str, str | None]:
    """The text of an answer, its status, and the code of its error."""
    ending = entries[-1].ending
    assert ending
    return words(entries), ending.status, ending.error["code"] if ending.error else None


@pytest.fixture
async def site(storage: Storage, shared_redis: RedisServer) -> AsyncIterator[Site]:
    """A server without workers, in front of the embedded and of a real Redis."""

    def another() -> Storage:
        """What a process of its own would have: the embedded Redis lives within this one."""
        if isinstance(storage.commands, EmbeddedRedis):
            return storage
        return connect(shared_redis.url)

    async with Site(storage, another).running() as site:
        yield site


# Ends


async def test_an_answer_is_done(site: Site) -> None:
    """A question is asked of the model as it is, and its words are the answer."""
    chain = FakeChain("It ", "is.", STOP)
    async with site.worker(chain):
        record = await site.ask()
        entries = await site.read(record)
        await site.settled(record)
    assert outcome(entries) == ("It is.", "done", None)
    assert entries[-1].ending == Ending("done", finish_reason="stop")
    assert chain.asked == [(TOPIC, QUESTION)]


async def test_the_record_of_an_answer_that_is_done(site: Site) -> None:
    """Once it is done, the record tells how, and where the answer stands."""
    async with site.worker(FakeChain("It is.", Finish("length"))):
        record = await site.ask()
        entries = await site.read(record)
        after = await site.settled(record)
    assert (after.status, after.finish_reason, after.error) == ("done", "length", None)
    assert (after.start_id, after.end_id) == (entries[0].id, entries[-1].id)
    assert (after.attempt, after.lapses) == (1, 0)


@pytest.mark.parametrize("steps", [(), (STOP,), (Reasoning("hm"), STOP), ("", STOP)])
async def test_an_answer_without_a_word_is_a_failure(site: Site, steps: tuple[Step, ...]) -> None:
    """A model that ends without any text has not answered, whatever it calls that."""
    async with site.worker(FakeChain(*steps)):
        record = await site.ask()
        entries = await site.read(record)
        await site.settled(record)
    assert outcome(entries) == ("", "failed", "model_error")


async def test_an_answer_fails(site: Site) -> None:
    """Where the model fails, what it has said is kept, and the END tells how it failed."""
    async with site.worker(FakeChain("half ", ModelUnavailable())):
        record = await site.ask()
        entries = await site.read(record)
        after = await site.settled(record)
    assert outcome(entries) == ("half ", "failed", "model_unavailable")
    assert (after.status, after.error) == ("failed", ModelUnavailable().payload)


async def test_a_model_that_does_not_begin_is_given_up(site: Site) -> None:
    """A model that says nothing in time has taken too long, and is left."""
    chain = FakeChain(silence())
    async with site.worker(chain, model_first_piece_timeout_s=0.05):
        record = await site.ask()
        entries = await site.read(record)
        await site.settled(record)
    assert outcome(entries) == ("", "failed", "model_timeout")
    assert chain.closed.is_set()


async def test_a_model_that_falls_silent_is_given_up(site: Site) -> None:
    """A model that does not go on in time has taken too long; what it said is kept."""
    chain = FakeChain("half ", silence())
    async with site.worker(chain, model_idle_timeout_s=0.05):
        record = await site.ask()
        entries = await site.read(record)
        await site.settled(record)
    assert outcome(entries) == ("half ", "failed", "model_timeout")
    assert chain.closed.is_set()


async def test_a_model_that_never_ends_is_given_up(site: Site) -> None:
    """A model that talks on and on is cut off when its time is over."""
    async with site.worker(TalkativeChain(), answer_timeout_s=0.1):
        record = await site.ask()
        entries = await site.read(record)
        await site.settled(record)
    text, *end = outcome(entries)
    assert end == ["failed", "model_timeout"]
    assert text.startswith("again again ")


# Thinking


def thought_of(entries: list[Entry]) -> str:
    """All that was thought in the last attempt."""
    transcript = Transcript()
    for entry in entries:
        transcript.add(entry)
    return transcript.reasoning


async def test_what_a_model_thinks_is_written_apart(site: Site) -> None:
    """Thought stands in entries of its own, without text, before the answer and within it."""
    chain = FakeChain(Reasoning("hm "), Reasoning("so"), "It ", Reasoning("or?"), "is.", STOP)
    async with site.worker(chain):
        record = await site.ask()
        entries = await site.read(record)
        await site.settled(record)
    assert outcome(entries) == ("It is.", "done", None)
    assert thought_of(entries) == "hm soor?"
    kinds = [bool(entry.reasoning) for entry in entries if entry.is_piece]
    assert kinds == [True, False, True, False]
    assert not any(entry.text for entry in entries if entry.reasoning)


async def test_a_model_that_thinks_is_alive(site: Site) -> None:
    """Thought, and a mere sign of it, renews the patience with a silent model."""
    patience_s = 0.3

    class ThinkingChain(FakeChain):
        async def stream(self, topic: str, question: str) -> AsyncGenerator[Piece]:
            clock = asyncio.get_running_loop().time
            until = clock() + 3 * patience_s
            while clock() < until:
                yield Reasoning()
                await asyncio.sleep(0)
            yield "It is."

    async with site.worker(ThinkingChain(), model_first_piece_timeout_s=patience_s):
        record = await site.ask()
        entries = await site.read(record)
        await site.settled(record)
    assert outcome(entries) == ("It is.", "done", None)


async def test_a_model_that_thinks_for_ever_is_given_up(site: Site) -> None:
    """Thinking is bounded by a time of its own, and what was thought is kept."""

    class EndlessChain(FakeChain):
        async def stream(self, topic: str, question: str) -> AsyncGenerator[Piece]:
            while True:
                yield Reasoning("hm ")
                await asyncio.sleep(0)

    async with site.worker(EndlessChain(), model_thinking_timeout_s=0.1):
        record = await site.ask()
        entries = await site.read(record)
        await site.settled(record)
    assert outcome(entries) == ("", "failed", "model_timeout")
    assert thought_of(entries).startswith("hm hm ")
    assert entries[-1].ending
    assert entries[-1].ending.error
    assert entries[-1].ending.error["message"] == THOUGHT_TOO_LONG


async def test_thought_beyond_the_limit_is_left_out(site: Site) -> None:
    """Endless thought fills neither memory nor Redis; the answer is not cut for it."""
    chain = FakeChain(Reasoning("0123456"), Reasoning("789abc"), Reasoning("d"), "It is.", STOP)
    async with site.worker(chain, max_answer_chars=10):
        record = await site.ask()
        entries = await site.read(record)
        await site.settled(record)
    assert thought_of(entries) == "0123456789"
    assert entries[-1].ending == Ending("done", finish_reason="stop")


async def test_thought_can_be_kept_back(site: Site) -> None:
    """With STREAM_REASONING=false nothing of it is written."""
    async with site.worker(FakeChain(Reasoning("hm"), "It is.", STOP), stream_reasoning=False):
        record = await site.ask()
        entries = await site.read(record)
        await site.settled(record)
    assert (thought_of(entries), outcome(entries)[0]) == ("", "It is.")


async def test_a_stop_ends_thinking(site: Site) -> None:
    """A question can be stopped while the model thinks; what was thought is kept."""
    chain = FakeChain(Reasoning("hm"), silence())
    async with site.worker(chain):
        record = await site.ask()
        await site.thought(record)
        await site.stop(record)
        entries = await site.read(record)
        await site.settled(record)
    assert outcome(entries) == ("", "stopped", None)
    assert thought_of(entries) == "hm"
    assert chain.closed.is_set()


async def test_what_an_answer_took_is_told(site: Site) -> None:
    """Tokens and the model's name stand in the END, and in the record."""
    finish = Finish("stop", Usage(12, 345, 300), "gpt-6-luna")
    async with site.worker(FakeChain("It is.", finish)):
        record = await site.ask()
        entries = await site.read(record)
        after = await site.settled(record)
    ending = Ending("done", None, "stop", Usage(12, 345, 300), "gpt-6-luna")
    assert entries[-1].ending == ending
    assert (after.usage, after.model) == (ending.usage, ending.model)


async def test_an_answer_that_grows_too_long_is_cut(site: Site) -> None:
    """At the limit the model is left; what stands before it is the answer, marked as cut."""
    chain = FakeChain("It is ", "much too long", silence())
    async with site.worker(chain, max_answer_chars=10):
        record = await site.ask()
        entries = await site.read(record)
        await site.settled(record)
    assert outcome(entries) == ("It is much", "done", None)
    assert entries[-1].ending == Ending("done", finish_reason="length")
    assert chain.closed.is_set()


async def test_a_timeout_that_a_library_swallows_comes_again(site: Site) -> None:
    """A silent model is given up even where its library swallows the first cancellation."""
    async with site.worker(StubbornChain(), model_idle_timeout_s=0.05):
        record = await site.ask()
        entries = await site.read(record)
        await site.settled(record)
    assert outcome(entries) == ("half ", "failed", "model_timeout")


async def test_a_fault_of_ours_is_tried_again_and_ends(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """What breaks a worker's code is tried like a crash, and then ends as interrupted."""
    chain = FakeChain("half ", TypeError())
    async with site.worker(chain, max_attempts=2):
        record = await site.ask()
        entries = await site.read(record)
        after = await site.settled(record)
    assert outcome(entries) == ("half ", "failed", "interrupted")
    assert len(chain.asked) == 2
    assert (after.attempt, after.lapses) == (3, 2)
    assert caplog.text.count("broken off by a fault of ours") == 2


async def test_a_fault_at_one_question_does_not_touch_the_others(site: Site) -> None:
    """A worker that stumbles over one question goes on with the next one."""
    chain = FakeChain("half ", TypeError())
    async with site.worker(chain, lease_s=60):
        await site.heard(await site.ask(), "half ")
        await chain.closed.wait()
        await site.heard(await site.ask(), "half ")


async def test_logs_hold_nobodys_words(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """The log says what became of a question, and nothing that was asked or answered."""
    caplog.set_level("DEBUG", "backend")
    record = await site.ask()
    async with site.worker(FakeChain("wet words", ModelUnavailable("dry words"))):
        await site.read(record)
        await site.settled(record)
    assert f"question {record.question_id} failed (model_unavailable)" in caplog.text
    assert not [said for said in (TOPIC, QUESTION, "wet", "dry") if said in caplog.text]


# Stops


async def test_a_running_answer_is_stopped(site: Site) -> None:
    """A stop leaves the model at once, keeps what was said, and ends the answer."""
    chain = FakeChain("half ", silence())
    async with site.worker(chain):
        record = await site.ask()
        await site.heard(record, "half ")
        stopped = await site.stop(record)
        entries = await site.read(record)
        after = await site.settled(record)
    assert stopped.status == after.status == "stopped"
    assert outcome(entries) == ("half ", "stopped", None)
    assert after.attempt == 1
    assert chain.closed.is_set()


async def test_a_stop_is_heard_although_the_first_cancellation_was_swallowed(site: Site) -> None:
    """A library that swallows a cancellation is cancelled again."""
    async with site.worker(StubbornChain()):
        record = await site.ask()
        await site.heard(record, "half ")
        await site.stop(record)
        entries = await site.read(record)
        after = await site.settled(record)
    assert outcome(entries) == ("half ", "stopped", None)
    assert after.attempt == 1


async def test_a_wish_that_was_not_heard_is_found_in_the_record(site: Site) -> None:
    """A worker that missed the wish to stop finds it with its next heartbeat."""
    chain = FakeChain("half ", silence())
    async with site.worker(chain):
        record = await site.ask()
        await site.heard(record, "half ")
        await site.changed(record, lambda current: current.stopping())
        entries = await site.read(record)
        await site.settled(record)
    assert outcome(entries) == ("half ", "stopped", None)


async def test_a_queued_question_is_stopped_without_a_worker(site: Site) -> None:
    """A question that nobody has taken ends at once, with a START and an END."""
    record = await site.ask()
    assert (await site.stop(record)).status == "stopped"
    assert outcome(await site.read(record)) == ("", "stopped", None)


async def test_a_question_that_was_stopped_is_not_answered(site: Site) -> None:
    """A worker that takes a stopped question drops it, without a word to the model."""
    chain = FakeChain("It is.", STOP)
    record = await site.ask()
    await site.stop(record)
    stored = await site.stored(record)
    async with site.worker(chain):
        await site.settled(record)
    assert chain.asked == []
    assert await site.stored(record) == stored


async def test_a_worker_ends_a_question_that_is_to_be_stopped(site: Site) -> None:
    """A wish to stop that stands in the record before anybody began is carried out."""
    chain = FakeChain("It is.", STOP)
    record = await site.ask()
    await site.changed(record, lambda current: current.stopping())
    async with site.worker(chain):
        entries = await site.read(record)
        after = await site.settled(record)
    assert outcome(entries) == ("", "stopped", None)
    assert (after.status, chain.asked) == ("stopped", [])


# Drains


async def test_a_drain_lets_answers_finish(site: Site) -> None:
    """Within its grace a drain waits for what is in work, and nothing is pending then."""
    gate = asyncio.Event()
    async with site.worker(FakeChain("It ", gate, "is.", STOP)) as worker:
        record = await site.ask()
        await site.heard(record, "It ")
        draining = asyncio.create_task(worker.drain(PATIENCE_S))
        gate.set()
        await draining
        after = await site.settled(record)
        consumers = await site.redis.xinfo_consumers(QUEUE, GROUP)
    assert outcome(await site.read(record)) == ("It is.", "done", None)
    assert (after.attempt, [consumer["pending"] for consumer in consumers]) == (1, [0])


async def test_a_drain_hands_over_what_it_cannot_finish(site: Site) -> None:
    """Past its grace another worker begins anew, long before a lease would have run out."""
    leaving, staying = FakeChain("half ", silence()), FakeChain("It is.", STOP)
    lease_s = 5.0
    async with site.worker(leaving, lease_s=lease_s) as worker:
        record = await site.ask()
        await site.heard(record, "half ")
        async with site.worker(staying, lease_s=lease_s), asyncio.timeout(lease_s / 2):
            await worker.drain(0.01)
            entries = await site.read(record)
            after = await site.settled(record)
    assert outcome(entries) == ("It is.", "done", None)
    assert (after.attempt, after.lapses) == (2, 0)
    assert leaving.closed.is_set()


async def test_a_handover_says_no_end(site: Site) -> None:
    """A worker that hands over leaves the answer open, for the other one to end."""
    async with site.worker(FakeChain("half ", silence())) as worker:
        record = await site.ask()
        await site.heard(record, "half ")
        await worker.drain(0)
    assert [entry.text for entry in (await site.stored(record))[1:]] == ["half "]
    after = await site.changed(record, lambda current: current)
    assert (after.status, after.released) == ("running", True)


async def test_everything_that_was_handed_over_is_begun_at_once(site: Site) -> None:
    """However many questions a worker leaves, the next one takes all in one beat of its heart."""
    many, beat_s = CLAIM_AT_ONCE + 1, 6.0
    async with site.worker(FakeChain("half ", silence())) as worker:
        records = [await site.ask() for _ in range(many)]
        await asyncio.gather(*(site.heard(record, "half ") for record in records))
        await worker.drain(0)
    whole = FakeChain("It is.", STOP)
    async with site.worker(whole, lease_s=beat_s * HEARTBEATS_PER_LEASE):
        async with asyncio.timeout(beat_s - 1):
            answers = await asyncio.gather(*map(site.read, records))
    assert {outcome(entries) for entries in answers} == {("It is.", "done", None)}
    assert len(whole.asked) == many


async def test_a_drained_worker_takes_nothing_new(site: Site) -> None:
    """A question that is asked after a drain is left to the workers that stay."""
    leaving, staying = FakeChain("first", STOP), FakeChain("second", STOP)
    async with site.worker(leaving, lease_s=60) as worker:
        before = await site.ask()
        await site.read(before)
        await worker.drain(PATIENCE_S)
        record = await site.ask()
        async with site.worker(staying, lease_s=60):
            entries = await site.read(record)
            await site.settled(record)
    assert outcome(entries) == ("second", "done", None)
    assert len(leaving.asked) == 1


async def test_an_idle_worker_drains_at_once(site: Site) -> None:
    """A drain with nothing in work returns, and may be asked for twice."""
    async with site.worker(FakeChain("It is.", STOP)) as worker:
        await site.read(await site.ask())
        await worker.drain(PATIENCE_S)
        await worker.drain(PATIENCE_S)


# Crashes


async def test_a_dead_workers_question_is_taken_over(site: Site) -> None:
    """After a lease another worker begins anew: one whole answer, and nothing twice."""
    async with site.worker(FakeChain("half ", silence())):
        record = await site.ask()
        await site.heard(record, "half ")
    async with site.worker(FakeChain("It is.", STOP)):
        entries = await site.read(record)
        after = await site.settled(record)
    assert outcome(entries) == ("It is.", "done", None)
    assert [(entry.attempt, entry.number) for entry in entries] == [
        *((1, 0), (1, 1)),
        *((2, 0), (2, 1), (2, 2)),
    ]
    assert (after.attempt, after.lapses) == (2, 1)


@pytest.mark.parametrize("max_attempts", [1, 2])
async def test_after_the_last_attempt_the_answer_is_interrupted(
    site: Site, max_attempts: int
) -> None:
    """A question whose workers die ends after so many attempts, with what the last one said."""
    record = await site.ask()
    for attempt in range(1, max_attempts + 1):
        async with site.worker(FakeChain(f"try {attempt} ", silence()), max_attempts=max_attempts):
            await site.heard(record, f"try {attempt} ")
    chain = FakeChain("It is.", STOP)
    async with site.worker(chain, max_attempts=max_attempts):
        entries = await site.read(record)
        after = await site.settled(record)
    assert outcome(entries) == (f"try {max_attempts} ", "failed", "interrupted")
    assert (after.status, after.lapses, chain.asked) == ("failed", max_attempts, [])


async def test_a_dead_workers_question_can_be_stopped(site: Site) -> None:
    """A wish to stop outlives the worker: the next one ends the answer and keeps its words."""
    async with site.worker(FakeChain("half ", silence())):
        record = await site.ask()
        await site.heard(record, "half ")
    await site.changed(record, lambda current: current.stopping())
    chain = FakeChain("It is.", STOP)
    async with site.worker(chain):
        entries = await site.read(record)
        await site.settled(record)
    assert outcome(entries) == ("half ", "stopped", None)
    assert chain.asked == []


async def test_a_worker_that_was_taken_over_falls_silent(site: Site) -> None:
    """A worker that finds another owner in the record leaves the model and says no END."""
    chain = FakeChain("half ", silence())
    async with site.worker(chain, lease_s=2):
        record = await site.ask()
        await site.heard(record, "half ")
        await site.changed(record, lambda current: current.begun("another", None))
        async with asyncio.timeout(PATIENCE_S):
            await chain.closed.wait()
    assert [entry.text for entry in (await site.stored(record))[1:]] == ["half "]
    after = await site.changed(record, lambda current: current)
    assert (after.owner, after.attempt, after.ended) == ("another", 2, False)


# The queue


async def test_a_question_that_was_asked_twice_is_answered_once(site: Site) -> None:
    """A question that is asked again while it waits is one answer, and the queue is empty then."""
    chain = FakeChain("It is.", STOP)
    record = await site.ask()
    await site.ask(record.question_id)
    async with site.worker(chain):
        entries = await site.read(record)
        after = await site.settled(record)
    assert outcome(entries) == ("It is.", "done", None)
    assert (len(chain.asked), after.attempt) == (1, 1)


async def test_what_is_no_question_is_removed(site: Site) -> None:
    """Entries that another program has put into the queue do not stay in it."""
    chain = FakeChain("It is.", STOP)
    await site.redis.xadd(QUEUE, {"questionId": "unknown"})
    await site.redis.xadd(QUEUE, {"foreign": "fields"})
    async with site.worker(chain):
        record = await site.ask()
        await site.settled(record)
    assert len(chain.asked) == 1


async def test_a_question_whose_record_is_gone_is_removed(site: Site) -> None:
    """A question that has expired before anybody took it is not answered."""
    chain = FakeChain("It is.", STOP)
    expired = await site.ask()
    await site.redis.delete(question_key(expired.question_id))
    async with site.worker(chain):
        await site.settled(await site.ask())
    assert len(chain.asked) == 1
    assert await site.stored(expired) == []


async def test_a_worker_takes_no_more_than_it_may(site: Site) -> None:
    """A question for which a worker has no room waits in the queue until it has."""
    gate = asyncio.Event()
    chain = FakeChain("It ", gate, "is.", STOP)
    records = [await site.ask() for _ in range(3)]
    async with site.worker(chain, worker_concurrency=1):
        await site.heard(records[0], "It ")
        assert len(chain.asked) == 1
        gate.set()
        for record in records:
            assert outcome(await site.read(record)) == ("It is.", "done", None)
            await site.settled(records[-1])


async def test_many_questions_at_once(site: Site) -> None:
    """Two workers share many questions: each is answered once, and the queue is empty then."""
    chains = [FakeChain("It ", "is.", STOP) for _ in range(2)]
    async with site.worker(chains[0], lease_s=60), site.worker(chains[1], lease_s=60):
        records = [await site.ask() for _ in range(40)]
        answers = await asyncio.gather(*map(site.read, records))
        await site.settled(records[-1])
    assert {outcome(entries) for entries in answers} == {("It is.", "done", None)}
    assert sum(len(chain.asked) for chain in chains) == 40


async def test_a_worker_goes_on_after_redis_was_emptied(site: Site) -> None:
    """A worker whose queue has vanished makes it anew and answers the next question."""
    async with site.worker(FakeChain("It is.", STOP)):
        await site.settled(await site.ask())
        await site.redis.flushall()
        record = await site.ask()
        assert outcome(await site.read(record)) == ("It is.", "done", None)
        await site.settled(record)
