"""Attempts: who may write an answer, how it is taken over, and who has the last word."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator

import pytest

from backend.protocol.entries import Ending
from backend.protocol.errors import Expired, Interrupted
from backend.protocol.record import Record
from backend.store.connection import Storage
from backend.store.records import question_key
from backend.worker.attempts import Attempt
from tests.fakes.rig import DONE, PATIENCE_S, STOPPED, STREAM, Rig, is_quiet, words

pytestmark = pytest.mark.usefixtures("shared_redis")  # it has to start outside of an event loop


@pytest.fixture
async def rig(storage: Storage) -> AsyncIterator[Rig]:
    """All parts at work on an empty Redis."""
    async with Rig(storage).running() as rig:
        yield rig


async def begin(rig: Rig, record: Record) -> Attempt:
    """Open an attempt that there has to be."""
    async with asyncio.timeout(PATIENCE_S):
        attempt = await rig.attempts.open(record.question_id)
    assert attempt
    return attempt


async def say(rig: Rig, attempt: Attempt, text: str) -> None:
    """Write a piece, and wait until it stands in the stream."""
    async with rig.tail.subscribe(STREAM, attempt.question_id) as feed:
        await attempt.draft.append(text)
        async with asyncio.timeout(PATIENCE_S):
            while not any(entry.text == text for entry in await feed.take(PATIENCE_S)):
                pass


async def test_the_first_attempt_begins(rig: Rig) -> None:
    """Opening makes a queued question a running one, and writes its START."""
    record = await rig.ask()
    attempt = await begin(rig, record)
    stored = await rig.questions.read(record.question_id)
    assert (stored.status, stored.attempt, stored.lapses) == ("running", 1, 0)
    assert [(entry.id, entry.is_start) for entry in await rig.stored()] == [
        (attempt.start_id, True)
    ]
    assert attempt.earlier.text == ""


async def test_closing_ends_the_question(rig: Rig) -> None:
    """After the END, the record says how the answer ended and between which entries it stands."""
    record = await rig.ask()
    attempt = await begin(rig, record)
    await attempt.draft.append("text")
    await rig.attempts.close(attempt, Ending("done", finish_reason="stop"))
    stored = await rig.questions.read(record.question_id)
    entries = await rig.stored()
    assert (stored.status, stored.finish_reason, stored.error) == ("done", "stop", None)
    assert (stored.start_id, stored.end_id) == (entries[0].id, entries[-1].id)


async def test_the_record_is_enough_to_read_the_answer(rig: Rig) -> None:
    """Other programs read an answer as XRANGE between the record's two ids."""
    record = await rig.ask()
    attempt = await begin(rig, record)
    await say(rig, attempt, "one ")
    await say(rig, attempt, "two")
    await rig.attempts.close(attempt, DONE)
    stored = await rig.questions.read(record.question_id)
    rows = await rig.raw.xrange(stored.stream, stored.start_id, stored.end_id)
    texts = [row[1]["chunkOutput"] for row in rows if row[1]["questionId"] == record.question_id]
    assert texts[1:-1] == ["one ", "two"]


async def test_an_error_is_stored(rig: Rig) -> None:
    """A failed answer's record carries the error that clients are shown."""
    record = await rig.ask()
    await rig.attempts.close(await begin(rig, record), Ending.failed(Interrupted()))
    stored = await rig.questions.read(record.question_id)
    assert (stored.status, stored.error) == ("failed", Interrupted().payload)


async def test_nobody_begins_an_unknown_question(rig: Rig) -> None:
    """A question without record has no attempts, and nothing is written for it."""
    assert await rig.attempts.open("unknown") is None
    assert await rig.stored() == []


async def test_nobody_begins_an_ended_question(rig: Rig) -> None:
    """What has ended is not answered again."""
    record, entries = await rig.answered("text")
    assert await rig.attempts.open(record.question_id) is None
    assert await rig.stored() == entries


async def test_a_repeated_queue_entry_begins_nothing(rig: Rig) -> None:
    """Only the queue entry that the record names begins an attempt."""
    record = await rig.ask()
    assert await rig.attempts.open(record.question_id, "another entry's token") is None
    assert await rig.attempts.open(record.question_id, record.job_token)


async def test_a_takeover_begins_anew(rig: Rig) -> None:
    """The second attempt has the next number, knows what was said, and counts the lapse."""
    record = await rig.ask()
    await say(rig, await begin(rig, record), "half an ans")
    second = await begin(rig, record)
    assert (second.record.attempt, second.record.lapses) == (2, 1)
    assert second.earlier.text == "half an ans"


async def test_what_a_stale_worker_writes_is_ignored(rig: Rig) -> None:
    """After a takeover, neither the pieces nor the END of the old attempt are seen."""
    record = await rig.ask()
    stale = await begin(rig, record)
    await say(rig, stale, "stale ")
    fresh = await begin(rig, record)
    await say(rig, stale, "staler ")
    await say(rig, fresh, "fresh")
    await rig.attempts.close(stale, STOPPED)
    await rig.attempts.close(fresh, DONE)
    entries = await rig.read(record)
    assert words(entries) == "fresh"
    assert entries[-1].ending == DONE


async def test_a_stale_workers_close_changes_no_record(rig: Rig) -> None:
    """A record is closed by the newest attempt, or not at all."""
    record = await rig.ask()
    stale = await begin(rig, record)
    fresh = await begin(rig, record)
    await rig.attempts.close(stale, STOPPED)
    assert await rig.questions.read(record.question_id) == fresh.record


async def test_a_stale_workers_close_leaves_an_ended_record_alone(rig: Rig) -> None:
    """An ended question stays as it ended, whoever comes late."""
    record = await rig.ask()
    stale = await begin(rig, record)
    await rig.attempts.close(await begin(rig, record), DONE)
    ended = await rig.questions.read(record.question_id)
    await rig.attempts.close(stale, STOPPED)
    assert await rig.questions.read(record.question_id) == ended


async def test_an_end_that_was_written_is_kept(rig: Rig) -> None:
    """A worker that died between END and record has had the last word: nothing is run again."""
    record = await rig.ask()
    attempt = await begin(rig, record)
    await say(rig, attempt, "all said")
    end_id = await attempt.draft.end(DONE)
    assert await rig.attempts.open(record.question_id) is None
    stored = await rig.questions.read(record.question_id)
    assert (stored.status, stored.start_id, stored.end_id) == ("done", attempt.start_id, end_id)
    entries = await rig.read(record)
    assert (words(entries), entries[-1].id) == ("all said", end_id)


async def test_concluding_keeps_what_was_said(rig: Rig) -> None:
    """A question whose worker is gone ends with its partial text."""
    record = await rig.ask()
    await say(rig, await begin(rig, record), "half an ans")
    concluded = await rig.attempts.conclude(record.question_id, STOPPED)
    entries = await rig.read(concluded)
    assert concluded.status == "stopped"
    assert (words(entries), entries[-1].ending) == ("half an ans", STOPPED)


async def test_concluding_a_queued_question_writes_its_labels(rig: Rig) -> None:
    """A question that nobody has begun gets START and END, and nothing between."""
    record = await rig.ask()
    concluded = await rig.attempts.conclude(record.question_id, STOPPED)
    entries = await rig.read(concluded)
    assert [entry.is_start for entry in entries] == [True, False]
    assert entries[-1].ending == STOPPED


async def test_concluding_an_ended_question_changes_nothing(rig: Rig) -> None:
    """Who comes too late is told how it ended."""
    record, entries = await rig.answered("text")
    assert await rig.attempts.conclude(record.question_id, STOPPED) == record
    assert await rig.stored() == entries


async def test_concluding_an_unknown_question_is_expired(rig: Rig) -> None:
    """There is nothing to conclude."""
    with pytest.raises(Expired):
        await rig.attempts.conclude("unknown", STOPPED)


async def test_concluding_keeps_words_whose_successor_said_none(rig: Rig) -> None:
    """An attempt that died before its first word does not erase the words before it."""
    record = await rig.ask()
    await say(rig, await begin(rig, record), "half an ans")
    await begin(rig, record)
    concluded = await rig.attempts.conclude(record.question_id, STOPPED)
    assert words(await rig.read(concluded)) == "half an ans"


async def test_concluding_keeps_what_was_said_though_a_reply_is_lost(rig: Rig) -> None:
    """A START that was written twice hides nothing of what older attempts had said."""
    record = await rig.ask()
    await say(rig, await begin(rig, record), "half an ans")
    rig.writing.lose_reply("eval")
    concluded = await rig.attempts.conclude(record.question_id, STOPPED)
    assert words(await rig.read(concluded)) == "half an ans"


async def test_concluding_twice_at_once_ends_it_for_both(rig: Rig) -> None:
    """Two servers that end a question at once both learn that it has ended, words kept."""
    record = await rig.ask()
    await say(rig, await begin(rig, record), "half an ans")
    rig.writing.hold("eval")
    both = [
        asyncio.create_task(rig.attempts.conclude(record.question_id, STOPPED)) for _ in range(2)
    ]
    async with asyncio.timeout(PATIENCE_S):
        while (await rig.questions.read(record.question_id)).attempt < 3:
            pass  # until both have begun, before either has written its START
        rig.writing.let_go("eval")
        concluded = await asyncio.gather(*both)
    stored = await rig.questions.read(record.question_id)
    assert words(await rig.read(stored)) == "half an ans"
    assert [each.status for each in concluded] == ["stopped", "stopped"]


async def test_an_end_is_one_line_of_the_log(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever ends a question, and whoever else tries, there is one line to be counted."""
    caplog.set_level("INFO", "backend")
    answered, concluded = await rig.ask(), await rig.ask()
    assert await rig.attempts.close(await begin(rig, answered), Ending.failed(Interrupted()))
    for _ in range(2):
        await rig.attempts.conclude(concluded.question_id, STOPPED)
        await rig.attempts.conclude(answered.question_id, STOPPED)
    ended = [line.partition(", ")[0] for line in caplog.messages if "after it was asked" in line]
    assert ended == [
        f"question {answered.question_id} failed (interrupted): attempt 1",
        f"question {concluded.question_id} stopped: attempt 1",
    ]


async def test_a_record_that_does_not_say_when_it_was_asked(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """Its line of the log counts no years."""
    caplog.set_level("INFO", "backend")
    record = await rig.ask()
    await rig.questions.change(
        record.question_id, lambda current: dataclasses.replace(current, asked_at_ms=0)
    )
    await rig.attempts.conclude(record.question_id, STOPPED)
    assert "attempt 1, 0.00 s after it was asked" in caplog.text


async def test_one_of_many_attempts_owns_the_question(rig: Rig) -> None:
    """Attempts opened at once have numbers of their own; one of them closes the record."""
    record = await rig.ask()
    async with asyncio.timeout(PATIENCE_S):
        opened = await asyncio.gather(*(rig.attempts.open(record.question_id) for _ in range(10)))
    attempts = [attempt for attempt in opened if attempt]
    stored = await rig.questions.read(record.question_id)
    (owner,) = (each for each in attempts if each.record.owner == stored.owner)
    assert sorted(each.record.attempt for each in attempts) == list(range(1, 11))
    for attempt in attempts:
        await attempt.draft.append(f"attempt {attempt.record.attempt}")
    await asyncio.gather(*(rig.attempts.close(attempt, DONE) for attempt in attempts))
    ended = await rig.questions.read(record.question_id)
    assert words(await rig.read(ended)) == f"attempt {owner.record.attempt}"
    assert (ended.status, ended.start_id) == ("done", owner.start_id)


async def test_a_handed_over_question_has_not_lapsed(rig: Rig) -> None:
    """A deploy costs no attempt: the next one begins without a lapse being counted."""
    record = await rig.ask()
    first = await begin(rig, record)
    await say(rig, first, "half an ans")
    await rig.attempts.hand_over(first)
    second = await begin(rig, record)
    assert (second.record.attempt, second.record.lapses) == (2, 0)


async def test_what_is_handed_over_is_written_no_further(rig: Rig) -> None:
    """After handing over, nothing of the old attempt appears in the stream."""
    record = await rig.ask()
    first = await begin(rig, record)
    rig.writing.hold("eval")
    await first.draft.append("dropped")
    await rig.attempts.hand_over(first)
    rig.writing.let_go("eval")
    await begin(rig, record)
    assert "dropped" not in [entry.text for entry in await rig.stored()]


async def test_only_the_owner_hands_over(rig: Rig) -> None:
    """A stale worker that shuts down does not release somebody else's question."""
    record = await rig.ask()
    stale = await begin(rig, record)
    await begin(rig, record)
    await rig.attempts.hand_over(stale)
    assert not (await rig.questions.read(record.question_id)).released


async def test_opening_waits_out_an_outage(rig: Rig) -> None:
    """While Redis is away, an attempt waits; it begins once, however often it was tried."""
    record = await rig.ask()
    rig.commands.lose_reply("execute", skip=1)  # the change of the record, not its reading
    rig.writing.refuse("eval", 2)
    attempt = await begin(rig, record)
    assert attempt.record.attempt == 1
    assert len(await rig.stored()) == 1


async def test_closing_waits_out_an_outage(rig: Rig) -> None:
    """An END that could not be recorded at once is recorded later."""
    record = await rig.ask()
    attempt = await begin(rig, record)
    rig.commands.refuse("execute", 2)
    task = asyncio.create_task(rig.attempts.close(attempt, DONE))
    assert await is_quiet(task)
    async with asyncio.timeout(PATIENCE_S):
        await task
    assert (await rig.questions.read(record.question_id)).status == "done"


async def test_closing_a_question_that_has_vanished_is_no_fault(rig: Rig) -> None:
    """Where the record has expired meanwhile, the END is written and nobody is told."""
    record = await rig.ask()
    attempt = await begin(rig, record)
    await rig.raw.delete(question_key(record.question_id))
    await rig.attempts.close(attempt, DONE)
    assert (await rig.stored())[-1].ending == DONE


async def test_a_trimmed_answer_can_be_concluded(rig: Rig) -> None:
    """Where what was said is partly gone, the question ends without it."""
    record = await rig.ask()
    first = await begin(rig, record)
    await say(rig, first, "half an ans")
    await rig.raw.xdel(STREAM, first.start_id)
    concluded = await rig.attempts.conclude(record.question_id, STOPPED)
    assert concluded.status == "stopped"


async def test_what_was_thought_is_kept_with_what_was_said(rig: Rig) -> None:
    """Whoever concludes a dead worker's question repeats its thought, and then its words."""
    record = await rig.ask()
    attempt = await begin(rig, record)
    await attempt.draft.think("hm")
    await say(rig, attempt, "half an ans")
    async with asyncio.timeout(PATIENCE_S):
        await rig.attempts.conclude(record.question_id, STOPPED)
        transcript = await rig.log.transcript(await rig.questions.read(record.question_id))
    assert transcript.ending == STOPPED
    assert (transcript.reasoning, transcript.text) == ("hm", "half an ans")
