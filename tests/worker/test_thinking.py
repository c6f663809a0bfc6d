"""What a model thinks: written apart, a sign of life, bounded, and kept back on demand."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from backend.llm.base import Piece, Reasoning
from backend.protocol.entries import Ending
from backend.worker.patience import THOUGHT_TOO_LONG
from tests.fakes.chains import STOP, FakeChain, silence
from tests.fakes.site import Site, outcome, thought_of

pytestmark = pytest.mark.usefixtures("shared_redis")  # it has to start outside of an event loop


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
