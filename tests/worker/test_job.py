"""One question in work: its answer is done, or fails with a reason, in bounded time and length."""

import pytest

from backend.llm.base import Finish, Reasoning
from backend.protocol.entries import Ending, Usage
from backend.protocol.errors import ModelUnavailable
from tests.fakes.chains import STOP, FakeChain, Step, StubbornChain, TalkativeChain, silence
from tests.fakes.site import QUESTION, TOPIC, Site, outcome

pytestmark = pytest.mark.usefixtures("shared_redis")  # it has to start outside of an event loop


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


async def test_logs_hold_nobodys_words(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """The log says what became of a question, and nothing that was asked or answered."""
    caplog.set_level("DEBUG", "backend")
    record = await site.ask()
    async with site.worker(FakeChain("wet words", ModelUnavailable("dry words"))):
        await site.read(record)
        await site.settled(record)
    assert f"question {record.question_id} failed (model_unavailable)" in caplog.text
    assert not [said for said in (TOPIC, QUESTION, "wet", "dry") if said in caplog.text]
