"""A question's record: who may write the answer, and what other programs read."""

import dataclasses
import json
import time
from collections.abc import Callable
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.protocol.entries import BEGINNING, FINAL_STATUSES, Ending, Status, Usage
from backend.protocol.errors import ErrorPayload, Expired
from backend.protocol.record import Record
from backend.protocol.requests import Ask

QUESTION_ID = "6f1c9f5e-3c0b-4a57-9d3e-6a2f0c6b1d11"
ASK = Ask(QUESTION_ID, "the sea", "why is it salty?")
ERROR: ErrorPayload = {"code": "model_error", "message": "It broke.", "retryable": True}
DONE = Ending("done", finish_reason="stop")

# What the Node original stores once an answer has ended.
ORIGINAL = {
    "topic": "the sea",
    "topicQuestion": "why is it salty?",
    "questionId": QUESTION_ID,
    "streamName": "OPENAI_STREAM",
    "streamStartMessageId": "1700000000000-0",
    "streamEndMessageId": "1700000009000-4",
}

Transition = Callable[[Record], Record]


def queued() -> Record:
    """A question that was just asked."""
    return Record.queued(ASK, "OPENAI_STREAM", "5-0", "delivery")


def running(owner: str = "first") -> Record:
    """A question in its first attempt."""
    return queued().begun(owner, "delivery")


def ended() -> Record:
    """A question whose first attempt has answered it."""
    return running().closed("first", DONE, "5-1", "5-9")


# Asking


def test_a_new_question_is_queued() -> None:
    """A question begins as queued, with no attempt, at the cursor it was asked at."""
    record = queued()
    assert (record.status, record.attempt, record.lapses) == ("queued", 0, 0)
    assert (record.question_id, record.stream, record.cursor) == (
        QUESTION_ID,
        "OPENAI_STREAM",
        "5-0",
    )
    assert not record.ended


def test_a_new_question_knows_when_it_was_asked() -> None:
    """The time of asking is in Unix milliseconds."""
    before = time.time_ns() // 1_000_000
    assert before <= queued().asked_at_ms <= time.time_ns() // 1_000_000


def test_a_question_is_known_by_its_words() -> None:
    """Asking the same again under an id is the same question, however often."""
    assert running().asks(Ask(QUESTION_ID, "the sea", "why is it salty?"))


@pytest.mark.parametrize(
    ("topic", "question"), [("the sea", "why?"), ("lakes", "why is it salty?")]
)
def test_another_question_under_the_same_id_is_told_apart(topic: str, question: str) -> None:
    """Other words under a known id are another question."""
    assert not running().asks(Ask(QUESTION_ID, topic, question))


# Beginning


def test_the_first_attempt() -> None:
    """A queued question that is begun runs in attempt 1, owned by who began it."""
    record = running("first")
    assert (record.status, record.attempt, record.lapses) == ("running", 1, 0)
    assert record.owner == "first"


def test_a_takeover_is_the_next_attempt_and_counts_a_lapse() -> None:
    """An attempt that begins while another one runs means that a worker has died."""
    record = running("first").begun("second", "delivery")
    assert (record.attempt, record.lapses, record.owner) == (2, 1, "second")


def test_an_attempt_after_a_handover_counts_no_lapse() -> None:
    """A worker that shut down in good order has not died."""
    record = running("first").handed_over("first").begun("second", "delivery")
    assert (record.attempt, record.lapses, record.released) == (2, 0, False)


def test_a_crash_after_a_handover_counts() -> None:
    """A handover excuses the attempt that was handed over, and none after it."""
    record = running("first").handed_over("first").begun("second", "delivery")
    assert record.begun("third", "delivery").lapses == 1


@given(st.lists(st.booleans()))
def test_lapses_count_the_crashes_alone(handovers: list[bool]) -> None:
    """However attempts are cut off, the attempts are counted, and of them the crashes apart."""
    record = running("0")
    for number, handover in enumerate(handovers):
        if handover:
            record = record.handed_over(str(number))
        record = record.begun(str(number + 1), "delivery")
    assert record.attempt == len(handovers) + 1
    assert record.lapses == handovers.count(False)


def test_an_entry_that_repeats_a_question_begins_nothing() -> None:
    """A queue entry with another token than the record's changes nothing."""
    for record in (queued(), running()):
        assert record.begun("second", "another delivery") is record


def test_an_entry_without_a_token_begins_nothing() -> None:
    """A queue entry that is not ours, and has no token, changes nothing."""
    record = queued()
    assert record.begun("first", "") is record


def test_an_attempt_may_begin_without_a_queue_entry() -> None:
    """Who ends a question from outside the queue needs no token."""
    assert queued().begun("first", None).attempt == 1


@pytest.mark.parametrize("status", FINAL_STATUSES)
def test_an_ended_question_is_not_begun_again(status: Any) -> None:
    """Once ended, a question has no further attempts."""
    record = running().closed("first", Ending(status), "5-1", "5-9")
    assert record.begun("second", "delivery") is record


# Handing over, stopping, closing


def test_only_the_owner_hands_over() -> None:
    """A stale owner cannot give up the attempt of another one."""
    record = running("first").begun("second", "delivery")
    assert record.handed_over("first") is record


def test_a_handover_leaves_the_attempt_as_it_is() -> None:
    """A question that was handed over still runs in the same attempt, until the next begins."""
    record = running("first")
    assert record.handed_over("first") == dataclasses.replace(record, released=True)


def test_a_wish_to_stop_is_noted() -> None:
    """A question to be stopped is marked, and goes on until somebody ends it."""
    for record in (queued(), running()):
        assert record.stopping() == dataclasses.replace(record, stop=True)


def test_a_wish_to_stop_survives_a_takeover() -> None:
    """The next attempt finds the wish to stop as well."""
    assert running().stopping().begun("second", "delivery").stop


def test_an_ended_question_cannot_be_stopped() -> None:
    """A wish to stop that comes too late changes nothing."""
    record = ended()
    assert record.stopping() is record


def test_closing_says_where_the_answer_stands() -> None:
    """The owner's ending goes into the record, with the ids of START and END and the time."""
    record = running().closed("first", Ending("failed", ERROR, "length"), "5-1", "5-9")
    assert (record.status, record.error, record.finish_reason) == ("failed", ERROR, "length")
    assert (record.start_id, record.end_id) == ("5-1", "5-9")
    assert record.ended
    assert record.asked_at_ms <= record.ended_at_ms <= time.time_ns() // 1_000_000


def test_a_stale_owner_cannot_close() -> None:
    """Whoever was taken over has no say in how the question ends."""
    record = running("first").begun("second", "delivery")
    assert record.closed("first", DONE, "5-1", "5-9") is record


def test_nobody_closes_a_question_that_was_not_begun() -> None:
    """A queued question has no owner who could close it."""
    record = queued()
    assert record.closed("first", DONE, "5-1", "5-9") is record


def test_the_first_ending_stands() -> None:
    """A question that has ended does not end in another way."""
    record = ended()
    assert record.closed("first", Ending("stopped"), "6-1", "6-9") is record


def test_an_ended_question_is_not_handed_over() -> None:
    """What has ended needs no other worker."""
    record = ended()
    assert record.handed_over("first") is record


TRANSITIONS: dict[str, Transition] = {
    "begun": lambda record: record.begun("second", "delivery"),
    "begun again": lambda record: record.begun("first", "delivery"),
    "handed over": lambda record: record.handed_over("first"),
    "stopping": lambda record: record.stopping(),
    "closed": lambda record: record.closed("first", DONE, "5-1", "5-9"),
}


@pytest.mark.parametrize("name", TRANSITIONS)
@pytest.mark.parametrize("make", [queued, running, ended])
def test_a_transition_applied_again_changes_nothing(name: str, make: Callable[[], Record]) -> None:
    """A change whose reply was lost may be made again: it is found to be made."""
    once = TRANSITIONS[name](make())
    assert TRANSITIONS[name](once) == once


@pytest.mark.parametrize("name", ["begun", "stopping", "closed"])
def test_a_repeated_transition_writes_nothing(name: str) -> None:
    """Where nothing changes the very same record is returned, which is not written again."""
    once = TRANSITIONS[name](running())
    assert TRANSITIONS[name](once) is once


@given(st.lists(st.sampled_from(sorted(TRANSITIONS))))
def test_whatever_happens_the_attempt_only_grows(names: list[str]) -> None:
    """Through any transitions the attempt never shrinks, and an ended question stays as it is."""
    record = queued()
    for name in names:
        after = TRANSITIONS[name](record)
        assert after.attempt in (record.attempt, record.attempt + 1)
        assert after is record or not record.ended
        record = after


# JSON


def test_the_keys_of_the_original() -> None:
    """The original's six keys are there, with its names, and tell where the answer stands."""
    stored = json.loads(ended().to_json())
    assert {name: stored[name] for name in ORIGINAL} == ORIGINAL | {
        "streamStartMessageId": "5-1",
        "streamEndMessageId": "5-9",
    }


def test_the_keys_of_ours() -> None:
    """What is ours stands beside the original's keys; what is unknown is left out."""
    stored = json.loads(running().to_json())
    assert set(stored) - set(ORIGINAL) == {
        "userId",
        "status",
        "attempt",
        "lapses",
        "released",
        "owner",
        "delivery",
        "stop",
        "cursor",
        "askedAt",
        "endedAt",
    }


@pytest.mark.parametrize("make", [queued, running, ended])
def test_the_json_of_a_record_is_read_back(make: Callable[[], Record]) -> None:
    """A record comes back from its JSON as it was."""
    record = make()
    assert Record.from_json(record.to_json()) == record


texts = st.text()
counts = st.integers(min_value=0, max_value=2**63)
cursors = st.builds("{}-{}".format, counts, counts)
errors = st.builds(
    lambda code, message, retryable: ErrorPayload(code=code, message=message, retryable=retryable),
    texts,
    texts,
    st.booleans(),
)


@given(
    st.builds(
        Record,
        *[texts] * 6,
        st.sampled_from(get_args(Status)),
        counts,
        counts,
        st.booleans(),
        texts,
        texts,
        st.booleans(),
        cursors,
        counts,
        counts,
        st.none() | errors,
        st.none() | texts,
        texts,
        st.none() | st.builds(Usage, st.integers(0, 2**53), st.none(), st.integers(0, 5)),
        st.none() | texts,
    )
)
def test_the_json_of_any_record_is_read_back(record: Record) -> None:
    """Whatever a record holds, it comes back from its JSON unchanged."""
    assert Record.from_json(record.to_json()) == record


def test_a_record_of_the_original_is_read() -> None:
    """The original's six keys are enough; the stream is read from its beginning."""
    record = Record.from_json(json.dumps(ORIGINAL))
    assert (record.topic, record.question, record.question_id, record.stream) == (
        "the sea",
        "why is it salty?",
        QUESTION_ID,
        "OPENAI_STREAM",
    )
    assert (record.start_id, record.end_id) == ("1700000000000-0", "1700000009000-4")
    assert record.cursor == BEGINNING


def test_keys_of_other_programs_are_passed_over() -> None:
    """A record with keys that we do not know is read like any other."""
    record = ended()
    stored = json.loads(record.to_json()) | {"rating": 5, "tags": [None]}
    assert Record.from_json(json.dumps(stored)) == record


@pytest.mark.parametrize("missing", ["topic", "topicQuestion", "questionId", "streamName"])
def test_a_record_that_does_not_say_what_was_asked_is_expired(missing: str) -> None:
    """Without one of the keys that say what was asked, and where, it is no record."""
    stored = {name: value for name, value in ORIGINAL.items() if name != missing}
    with pytest.raises(Expired):
        Record.from_json(json.dumps(stored))


@pytest.mark.parametrize(
    "raw", ["", " ", "nonsense", "{", "{}", "[]", "null", "7", '"topic"', '["topic"]', "NaN"]
)
def test_what_is_no_record_is_expired(raw: str) -> None:
    """A value that another program put under the key is taken for nothing stored."""
    with pytest.raises(Expired):
        Record.from_json(raw)


def test_json_nested_without_end_is_expired() -> None:
    """JSON that is nested too deeply to be read is garbage like any other."""
    with pytest.raises(Expired):
        Record.from_json("[" * 100_000)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
OURS = [*sorted(json.loads(running().to_json())), "error", "finishReason"]


@given(json_values | st.dictionaries(st.sampled_from(OURS) | st.text(), json_values))
def test_any_json_is_read_or_expired(value: Any) -> None:
    """Whatever JSON stands under the key, reading it raises nothing but Expired."""
    _read_or_none(json.dumps(value))


@given(st.text())
def test_any_text_is_read_or_expired(raw: str) -> None:
    """Whatever text stands under the key, reading it raises nothing but Expired."""
    _read_or_none(raw)


@given(st.sampled_from(OURS), json_values)
def test_a_record_that_is_read_can_be_used(name: str, value: Any) -> None:
    """A record whose values are not of their kind is no record: nobody stumbles over it later."""
    stored = json.loads(running().to_json()) | {name: value}
    if record := _read_or_none(json.dumps(stored)):
        after = record.begun("second", record.job_token).stopping()
        assert after.status in get_args(Status)
        assert all(isinstance(number, int) for number in (after.attempt, after.lapses))
        assert all(isinstance(text, str) for text in (after.topic, after.question, after.stream))


def _read_or_none(raw: str) -> Record | None:
    try:
        return Record.from_json(raw)
    except Expired:
        return None
