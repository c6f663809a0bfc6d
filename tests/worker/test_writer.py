"""Writing answers: what gathers while a write is on its way goes out with the next one."""

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest

from backend.protocol.entries import Ending, Entry, end_label, start_label
from backend.protocol.errors import ModelTimeout
from backend.protocol.transcript import Transcript
from backend.runtime.background_tasks import cancel
from backend.store.answer_log import log_key
from backend.store.connection import Storage, connect
from backend.worker.draft import MAX_ENTRY_CHARS, Draft
from backend.worker.writer import AnswerWriter
from tests.fakes.programs import RedisServer
from tests.fakes.rig import DONE, PATIENCE_S, STOPPED, STREAM, Rig, in_background, is_quiet

pytestmark = pytest.mark.usefixtures("shared_redis")  # it has to start outside of an event loop


@pytest.fixture
async def rig(storage: Storage) -> AsyncIterator[Rig]:
    """A writer at work on an empty stream."""
    async with Rig(storage).running() as rig:
        yield rig


def open_answer(rig: Rig, question_id: str = "q", attempt: int = 1) -> Draft:
    """An attempt that is about to be written."""
    return rig.writer.open(STREAM, question_id, attempt)


async def written(rig: Rig, question_id: str = "q") -> list[str]:
    """The texts that stand in the stream for a question."""
    return [entry.text for entry in await rig.stored() if entry.question_id == question_id]


async def folded(rig: Rig, question_id: str = "q") -> Transcript:
    """The answer as every reader sees it."""
    transcript = Transcript()
    for entry in await rig.stored():
        if entry.question_id == question_id:
            transcript.add(entry)
    return transcript


async def settled(rig: Rig) -> None:
    """Wait until all that was noted so far has been written: a later answer has."""
    async with asyncio.timeout(PATIENCE_S):
        await open_answer(rig, "a later one").start()


async def test_an_answer_is_written_between_its_labels(rig: Rig) -> None:
    """START, the pieces, END: with the texts that the original writes."""
    answer = open_answer(rig)
    start_id = await answer.start()
    await answer.append("one")
    await settled(rig)
    await answer.append("two")
    end_id = await answer.end(DONE)
    entries = [entry for entry in await rig.stored() if entry.question_id == "q"]
    assert [entry.text for entry in entries] == [start_label("q"), "one", "two", end_label("q")]
    assert (entries[0].id, entries[-1].id) == (start_id, end_id)


async def test_the_end_says_how_it_ended(rig: Rig) -> None:
    """Status, error and finish reason stand with the END."""
    ending = Ending("failed", ModelTimeout().payload, "length")
    await open_answer(rig).end(ending)
    assert (await rig.stored())[-1].ending == ending


async def test_the_first_piece_goes_at_once(rig: Rig) -> None:
    """A piece is not held back to see whether others follow."""
    answer = open_answer(rig)
    await answer.start()
    async with rig.tail.subscribe(STREAM, "q") as feed:
        await answer.append("first")
        entries = await feed.take(PATIENCE_S)
        assert entries[-1].text == "first"


async def test_pieces_that_gather_go_out_as_one(rig: Rig) -> None:
    """What comes while a write is on its way is one entry of the next write."""
    answer = open_answer(rig)
    await answer.start()
    writes = rig.writing.count("eval")
    rig.writing.hold("eval")
    await answer.append("first")
    await rig.writing.called("eval", writes + 1)
    for text in ("these ", "go ", "together"):
        await answer.append(text)
    rig.writing.let_go("eval")
    await answer.end(DONE)
    texts = await written(rig)
    assert texts == [start_label("q"), "first", "these go together", end_label("q")]


async def test_later_pieces_gather_until_the_next_moment(storage: Storage) -> None:
    """With a pace, what follows the first piece waits; START, first piece and END do not."""
    rig = Rig(storage)
    writer = AnswerWriter(
        rig.writing, keep_s=60, retention_s=60, metrics=rig.metrics, linger_s=3_600
    )
    async with asyncio.timeout(PATIENCE_S), in_background(writer.run()):
        answer = writer.open(STREAM, "q", 1)
        await answer.start()
        writes = rig.writing.count("eval")
        await answer.append("first")
        await rig.writing.called("eval", writes + 1)
        await answer.append("these go ")
        await answer.append("together")
        await answer.end(DONE)
        assert rig.writing.count("eval") == writes + 2
    assert await written(rig) == [start_label("q"), "first", "these go together", end_label("q")]


async def test_many_answers_share_a_write(rig: Rig) -> None:
    """However many answers are being written, there is one transaction on its way."""
    writes = rig.writing.count("eval")
    rig.writing.hold("eval")
    first = asyncio.create_task(open_answer(rig, "first").start())
    await rig.writing.called("eval", writes + 1)
    starts = [asyncio.create_task(open_answer(rig, str(n)).start()) for n in range(50)]
    assert await is_quiet(starts[-1])
    rig.writing.let_go("eval")
    await asyncio.gather(first, *starts)
    assert rig.writing.count("eval") == writes + 2
    assert len(await rig.stored()) == 51


async def test_numbers_have_no_holes(rig: Rig) -> None:
    """Entries are counted from the START on, however they were batched."""
    answer = open_answer(rig)
    await answer.start()
    for number in range(200):
        await answer.append(f"{number} ")
        if number % 7 == 0:
            await asyncio.sleep(0)
    await answer.end(DONE)
    entries = await rig.stored()
    assert [entry.number for entry in entries] == list(range(len(entries)))
    assert (await folded(rig)).text == "".join(f"{number} " for number in range(200))


async def test_answers_do_not_mix(rig: Rig) -> None:
    """Answers that are written at once each keep their own words, in order."""

    async def write(question_id: str) -> None:
        answer = open_answer(rig, question_id)
        await answer.start()
        for number in range(30):
            await answer.append(f"{question_id}{number} ")
            await asyncio.sleep(0)
        await answer.end(DONE)

    await asyncio.gather(*(write(question_id) for question_id in "abcdefgh"))
    for question_id in "abcdefgh":
        expected = "".join(f"{question_id}{number} " for number in range(30))
        assert (await folded(rig, question_id)).text == expected


async def test_an_empty_piece_writes_nothing(rig: Rig) -> None:
    """Models send empty pieces; readers need not see them."""
    answer = open_answer(rig)
    await answer.start()
    await answer.append("")
    await settled(rig)
    await answer.end(DONE)
    assert await written(rig) == [start_label("q"), end_label("q")]


async def test_a_lost_reply_doubles_entries_and_not_the_answer(rig: Rig) -> None:
    """What Redis took without saying so is sent again; readers count it once."""
    answer = open_answer(rig)
    await answer.start()
    await answer.append("one ")
    await settled(rig)
    rig.writing.lose_reply("eval")
    await answer.append("two ")
    await rig.writing.called("eval", rig.writing.count("eval") + 2)
    await answer.append("three")
    await answer.end(DONE)
    assert (await written(rig)).count("two ") == 2
    transcript = await folded(rig)
    assert (transcript.text, transcript.ending) == ("one two three", DONE)


async def test_every_write_may_lose_its_reply(rig: Rig) -> None:
    """Even where START and END are written twice, the answer is whole and closed once."""
    answer = open_answer(rig)
    for text in ("one ", "two ", "three"):
        rig.writing.lose_reply("eval", 2)
        await answer.append(text)
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.shield(answer.start()) if text == "one " else await settled(rig)
    rig.writing.lose_reply("eval", 2)
    await answer.end(DONE)
    transcript = await folded(rig)
    assert (transcript.text, transcript.ending) == ("one two three", DONE)


async def test_an_outage_delays_and_loses_nothing(rig: Rig) -> None:
    """Pieces that come while Redis is away are written once it is back."""
    answer = open_answer(rig)
    await answer.start()
    rig.writing.refuse("eval", 3)
    for text in ("one ", "two ", "three"):
        await answer.append(text)
        await asyncio.sleep(0)
    await answer.end(DONE)
    assert (await folded(rig)).text == "one two three"


async def test_a_restart_of_redis_loses_nothing(own_redis: RedisServer) -> None:
    """An answer that was begun before Redis was restarted is finished after it."""
    async with connect(own_redis.url) as storage, Rig(storage).running() as rig:
        answer = open_answer(rig)
        await answer.start()
        await answer.append("before ")
        await settled(rig)
        own_redis.kill()
        await answer.append("while ")
        ending = asyncio.create_task(answer.end(DONE))
        assert await is_quiet(ending)
        await asyncio.to_thread(own_redis.start)
        async with asyncio.timeout(PATIENCE_S):
            await ending
        transcript = await folded(rig)
    assert (transcript.text, transcript.ending) == ("before while ", DONE)


async def test_a_long_text_is_cut(rig: Rig) -> None:
    """No entry is longer than it may be, and nothing is lost at a cut."""
    text = "".join(chr(ord("a") + number % 26) for number in range(2 * MAX_ENTRY_CHARS + 5))
    answer = open_answer(rig)
    await answer.append(text)
    await answer.end(DONE)
    pieces = [entry.text for entry in await rig.stored() if entry.is_piece]
    assert [len(piece) for piece in pieces] == [MAX_ENTRY_CHARS, MAX_ENTRY_CHARS, 5]
    assert "".join(pieces) == text


async def test_an_emoji_cut_in_two_is_joined(rig: Rig) -> None:
    """Half a surrogate pair waits for its other half; what comes before it does not."""
    answer = open_answer(rig)
    await answer.start()
    await answer.append("a\ud83d")
    await settled(rig)
    assert await written(rig) == [start_label("q"), "a"]
    await answer.append("\ude00b")
    await answer.end(DONE)
    assert (await folded(rig)).text == "a\N{GRINNING FACE}b"


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["a\ude00b"], "a\ufffdb"),
        (["a\ud83d", "b"], "a\ufffdb"),
        (["a\ud83d", "\ud83d\ude00"], "a\ufffd\N{GRINNING FACE}"),
        (["a\ud83d"], "a\ufffd"),
        (["\ufeffa\ud83d", "\ude00"], "\ufeffa\N{GRINNING FACE}"),
    ],
    ids=["low alone", "high before a letter", "high before a pair", "high at the end", "mark"],
)
async def test_lone_surrogates_are_replaced(rig: Rig, pieces: list[str], text: str) -> None:
    """What cannot be written as UTF-8 becomes a replacement character and stops nobody."""
    answer = open_answer(rig)
    await answer.start()
    for piece in pieces:
        await answer.append(piece)
        await settled(rig)
    await answer.end(DONE)
    assert (await folded(rig)).text == text


@pytest.mark.parametrize("reason", [True, {"why": "?"}], ids=["bool", "dict"])
async def test_an_odd_finish_reason_stops_nobody(rig: Rig, reason: object) -> None:
    """Whatever a provider sends as its finish reason, this answer ends, and others go on."""
    odd = Ending("done", finish_reason=reason)  # type: ignore[arg-type]
    ending = asyncio.create_task(open_answer(rig, "odd").end(odd))
    other = asyncio.create_task(open_answer(rig, "other").end(DONE))
    try:
        done, _ = await asyncio.wait({ending, other}, timeout=1)
        assert done == {ending, other}
    finally:
        await cancel([ending, other])


async def test_a_model_that_is_too_fast_has_to_wait(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While Redis is away, an answer gathers up to a bound; then the model waits for room."""
    monkeypatch.setattr("backend.worker.draft.MAX_WAITING_CHARS", 10)
    answer = open_answer(rig)
    await answer.start()
    writes = rig.writing.count("eval")
    rig.writing.hold("eval")
    await answer.append("on its way")
    await rig.writing.called("eval", writes + 1)
    await answer.append("0123456789")
    task = asyncio.create_task(answer.append("too much"))
    assert await is_quiet(task)
    rig.writing.let_go("eval")
    async with asyncio.timeout(PATIENCE_S):
        await task
        await answer.end(DONE)
    assert (await folded(rig)).text == "on its way0123456789too much"


async def test_a_full_answer_does_not_hold_up_others(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound is each answer's own."""
    monkeypatch.setattr("backend.worker.draft.MAX_WAITING_CHARS", 10)
    full, other = open_answer(rig, "full"), open_answer(rig, "other")
    rig.writing.hold("eval")
    await full.append("x" * 100)
    async with asyncio.timeout(1):
        await other.append("y")
    rig.writing.let_go("eval")


async def test_an_abandoned_answer_is_written_no_further(rig: Rig) -> None:
    """What had gathered when an attempt was given up is dropped."""
    answer = open_answer(rig)
    await answer.start()
    writes = rig.writing.count("eval")
    rig.writing.hold("eval")
    await answer.append("on its way")
    await rig.writing.called("eval", writes + 1)
    await answer.append("dropped")
    answer.abandon()
    rig.writing.let_go("eval")
    await settled(rig)
    assert await written(rig) == [start_label("q"), "on its way"]


async def test_an_abandoned_answer_takes_nothing_more(rig: Rig) -> None:
    """A piece that comes after an attempt was given up is not written either."""
    answer = open_answer(rig)
    await answer.start()
    answer.abandon()
    await answer.append("late")
    await settled(rig)
    assert await written(rig) == [start_label("q")]


async def test_cancelling_a_wait_does_not_stop_the_write(rig: Rig) -> None:
    """Who no longer waits for the END has said it nevertheless, and may ask again."""
    answer = open_answer(rig)
    await answer.start()
    rig.writing.hold("eval")
    task = asyncio.create_task(answer.end(STOPPED))
    assert await is_quiet(task)
    await cancel([task])
    rig.writing.let_go("eval")
    async with asyncio.timeout(PATIENCE_S):
        await answer.end(STOPPED)
    assert [entry.ending for entry in await rig.stored()] == [None, STOPPED]


async def test_an_answer_stands_in_its_log(rig: Rig) -> None:
    """The log of an answer holds the whole of it, ids and all, while it is written and after."""
    answer = open_answer(rig)
    for text in ("one ", "two"):
        await answer.append(text)
        await settled(rig)
    log = log_key(STREAM, "q")
    for _ in range(2):
        stored = [Entry.parse(*row) for row in await rig.raw.xrange(log)]
        assert stored == [entry for entry in await rig.stored() if entry.question_id == "q"]
        await answer.end(DONE)


async def test_a_log_expires(rig: Rig) -> None:
    """It has an expiry like everything else."""
    await open_answer(rig).end(DONE)
    assert 0 < await rig.raw.ttl(log_key(STREAM, "q")) <= 60


# Thought


async def test_thought_and_text_never_share_an_entry(rig: Rig) -> None:
    """What gathers together is written in turn, each kind in entries of its own."""
    answer = open_answer(rig)
    await answer.start()
    for words in ("hm ", "so"):
        await answer.think(words)
    await answer.append("It ")
    await answer.append("is.")
    await answer.think("or?")
    await answer.end(DONE)
    entries = [entry for entry in await rig.stored() if entry.is_piece]
    assert "".join(entry.text for entry in entries) == "It is."
    assert "".join(entry.reasoning for entry in entries) == "hm soor?"
    assert all(bool(entry.text) != bool(entry.reasoning) for entry in entries)
    turns = [kind for kind, _ in itertools.groupby(bool(entry.reasoning) for entry in entries)]
    assert turns == [True, False, True]


async def test_the_first_text_behind_thought_does_not_wait(storage: Storage) -> None:
    """Nobody waits longer than for the answer's first words: they go at once."""
    rig = Rig(storage)
    writer = AnswerWriter(
        rig.writing, keep_s=60, retention_s=60, metrics=rig.metrics, linger_s=3_600
    )
    async with in_background(writer.run()), asyncio.timeout(PATIENCE_S):
        answer = writer.open(STREAM, "q", 1)
        await answer.start()
        await answer.think("hm ")
        await answer.think("so")
        await answer.append("It")
        while not any(entry.text == "It" for entry in await rig.stored()):
            pass  # a round trip: the writer gets its turn meanwhile


async def test_long_thought_is_cut_into_several_entries(rig: Rig) -> None:
    """No entry of thought is longer than one of text may be."""
    answer = open_answer(rig)
    await answer.start()
    thought = "hm " * MAX_ENTRY_CHARS
    await answer.think(thought)
    await answer.end(DONE)
    entries = [entry for entry in await rig.stored() if entry.reasoning]
    assert "".join(entry.reasoning for entry in entries) == thought
    assert max(len(entry.reasoning) for entry in entries) == MAX_ENTRY_CHARS


async def test_half_an_emoji_at_the_end_of_thought_is_replaced(rig: Rig) -> None:
    """What text follows upon cannot complete it."""
    answer = open_answer(rig)
    await answer.start()
    await answer.think("hm \ud83e")
    await answer.append("\udd8a It is.")
    await answer.end(DONE)
    transcript = await folded(rig)
    assert (transcript.reasoning, transcript.text) == ("hm \ufffd", "\ufffd It is.")
