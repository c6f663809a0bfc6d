"""The wire vocabulary: labels, ids, the fields, rows and chunks of entries."""

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.protocol.entries import (
    BEGINNING,
    FINAL_STATUSES,
    MAX_TOKENS,
    Ending,
    Entry,
    Usage,
    end_label,
    entry_order,
    failure,
    is_final,
    notice,
    parse_error,
    refusal,
    start_label,
)
from backend.protocol.errors import AppError, ErrorPayload, Expired, Interrupted, ModelTimeout
from tests.protocol.any_entries import DONE, END, ERROR, QUESTION_ID, START, entries

# Labels and ids


def test_start_label() -> None:
    """The START label is the original's, byte for byte."""
    assert start_label(QUESTION_ID) == START


def test_end_label() -> None:
    """The END label is the original's, byte for byte."""
    assert end_label(QUESTION_ID) == END


@pytest.mark.parametrize("status", ["queued", "running", "", None, "DONE"])
def test_statuses_that_are_not_final(status: str | None) -> None:
    """A question that is queued or running has not ended."""
    assert not is_final(status)


def test_final_statuses() -> None:
    """A question ends in exactly one of three ways."""
    assert FINAL_STATUSES == ("done", "stopped", "failed")
    assert all(map(is_final, FINAL_STATUSES))


def test_ids_are_ordered_as_numbers() -> None:
    """Ids are compared by their numbers, not by their letters."""
    highest = "18446744073709551615-18446744073709551615"
    ids = [highest, "10-0", "9-10", "0-1", BEGINNING, "9-5"]
    assert sorted(ids, key=entry_order) == [BEGINNING, "0-1", "9-5", "9-10", "10-0", highest]


# Entries


def test_an_entry_keeps_the_fields_of_the_original() -> None:
    """A piece is written under the two names that other programs read, and two of ours."""
    assert Entry(QUESTION_ID, "words", 2, 7).fields() == {
        "questionId": QUESTION_ID,
        "chunkOutput": "words",
        "attempt": "2",
        "number": "7",
    }


def test_the_end_says_how_the_answer_ended() -> None:
    """The END is written with its status, its error and the model's reason."""
    fields = Entry.end(QUESTION_ID, 1, 3, Ending("failed", ERROR, "length")).fields()
    assert fields["chunkOutput"] == END
    assert fields["status"] == "failed"
    assert json.loads(fields["error"]) == ERROR
    assert fields["finishReason"] == "length"


def test_a_good_end_has_no_error() -> None:
    """What is not known of an ending is not written."""
    fields = Entry.end(QUESTION_ID, 1, 3, Ending("stopped")).fields()
    assert set(fields) == {"questionId", "chunkOutput", "attempt", "number", "status"}


@given(entries)
def test_an_entry_is_read_back_as_it_was_written(entry: Entry) -> None:
    """Whatever an entry holds, it comes back from its fields unchanged, with its id."""
    assert Entry.parse("5-1", entry.fields()) == dataclasses.replace(entry, id="5-1")


def test_thought_is_no_text() -> None:
    """What a model thinks stands in a field of its own; the original's field is empty."""
    thought = Entry(QUESTION_ID, "", 2, 7, id="5-1", reasoning="hm")
    assert thought.fields() == {
        "questionId": QUESTION_ID,
        "chunkOutput": "",
        "attempt": "2",
        "number": "7",
        "reasoning": "hm",
    }
    meta = {"questionId": QUESTION_ID, "id": "5-1", "attempt": 2, "number": 7, "reasoning": "hm"}
    assert thought.chunk() == ("", meta)


def test_the_end_says_what_the_answer_took() -> None:
    """What the provider told stands in the entry and in the chunk; what it did not is absent."""
    ending = Ending("done", None, "stop", Usage(12, None, 0), "gpt-6-luna")
    end = Entry.end(QUESTION_ID, 1, 3, ending)
    fields = end.fields()
    assert (json.loads(fields["usage"]), fields["model"]) == (
        {"inputTokens": 12, "reasoningTokens": 0},
        "gpt-6-luna",
    )
    _, meta = end.chunk()
    assert (meta["usage"], meta["model"]) == (json.loads(fields["usage"]), "gpt-6-luna")


@pytest.mark.parametrize(
    "value",
    [
        None, 5, "x", [], {}, {"inputTokens": "5"}, {"inputTokens": -1}, {"inputTokens": 2.0},
        {"inputTokens": True}, {"outputTokens": MAX_TOKENS + 1}, {"tokens": 5},
    ],
    ids=str,
)  # fmt: skip
def test_counts_that_are_none_tell_nothing(value: Any) -> None:
    """What Redis or a server holds in their place may be anything."""
    assert Usage.parse(value) is None


def test_when_to_come_back_is_read_with_its_error() -> None:
    """A stored error keeps the seconds after which asking again may help."""
    error: ErrorPayload = {**ERROR, "retryAfterS": 20}
    assert parse_error(error) == error
    for odd in (-1, "20", 2.5, None, True):
        assert parse_error({**ERROR, "retryAfterS": odd}) == ERROR


FIELDS = {"questionId": QUESTION_ID, "chunkOutput": "words", "attempt": "1", "number": "1"}


@pytest.mark.parametrize("missing", list(FIELDS))
def test_an_entry_without_a_field_is_not_ours(missing: str) -> None:
    """An entry that lacks one of the four fields is left to whoever wrote it."""
    assert Entry.parse("5-1", {k: v for k, v in FIELDS.items() if k != missing}) is None


def test_an_entry_of_the_node_original_is_not_ours() -> None:
    """An entry with the original's two fields alone belongs to no attempt."""
    assert Entry.parse("5-1", {"questionId": "Q-1", "chunkOutput": "words"}) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"attempt": ""},
        {"attempt": "one"},
        {"attempt": "1.0"},
        {"number": "nan"},
        pytest.param({"number": "9" * 10_000}, id="a number of 10,000 digits"),
        {"status": ""},
        {"status": "running"},
        {"status": "Done"},
        {"status": "failed", "error": ""},
        {"status": "failed", "error": "{"},
        {"status": "failed", "error": "[]"},
        {"status": "failed", "error": '"code"'},
        {"status": "failed", "error": "7"},
        {"status": "failed", "error": "{}"},
        {"status": "failed", "error": '{"code": "x", "message": "y"}'},
    ],
    ids=repr,
)
def test_a_malformed_entry_is_not_ours(changes: dict[str, str]) -> None:
    """An entry with a broken number, status or error is passed over."""
    assert Entry.parse("5-1", FIELDS | changes) is None


def test_an_error_nested_without_end_is_not_ours() -> None:
    """JSON that is nested too deeply to be read is passed over like any other garbage."""
    assert Entry.parse("5-1", FIELDS | {"status": "failed", "error": "[" * 100_000}) is None


@given(
    st.dictionaries(
        st.sampled_from([*FIELDS, "status", "error", "finishReason", "else"]),
        st.sampled_from(["0", "1", "done", "failed", json.dumps(ERROR), "null"]) | st.text(),
    )
)
def test_any_fields_are_read_or_passed_over(fields: dict[str, str]) -> None:
    """Whatever another program writes into the stream, reading it raises nothing."""
    entry = Entry.parse("5-1", fields)
    assert entry is None or entry.text == fields["chunkOutput"]


def test_labels_and_pieces_are_told_apart_by_number_and_ending() -> None:
    """A piece whose text is a label is a piece nevertheless."""
    start = Entry.start(QUESTION_ID, 1)
    pieces = [Entry(QUESTION_ID, START, 1, 1), Entry(QUESTION_ID, END, 1, 2)]
    end = Entry.end(QUESTION_ID, 1, 3, DONE)
    assert [entry.is_start for entry in (start, *pieces, end)] == [True, False, False, False]
    assert [entry.is_piece for entry in (start, *pieces, end)] == [False, True, True, False]


# Chunks


def test_the_chunk_of_a_piece() -> None:
    """A piece is emitted as a plain string, with where it stands beside it."""
    assert Entry(QUESTION_ID, "words", 2, 7, id="5-1").chunk() == (
        "words",
        {"questionId": QUESTION_ID, "id": "5-1", "attempt": 2, "number": 7},
    )


def test_the_chunk_of_a_start() -> None:
    """The START is emitted with number 0 and no status."""
    text, meta = dataclasses.replace(Entry.start(QUESTION_ID, 1), id="5-0").chunk()
    assert text == START
    assert meta == {"questionId": QUESTION_ID, "id": "5-0", "attempt": 1, "number": 0}


def test_the_chunk_of_a_failed_end() -> None:
    """The END label is emitted with the status, the error and the model's reason."""
    end = Entry.end(QUESTION_ID, 1, 3, Ending("failed", ERROR, "length"))
    text, meta = dataclasses.replace(end, id="5-3").chunk()
    assert text == END
    assert meta == {
        "questionId": QUESTION_ID,
        "id": "5-3",
        "attempt": 1,
        "number": 3,
        "status": "failed",
        "error": ERROR,
        "finishReason": "length",
    }


def test_the_chunk_of_a_stopped_end() -> None:
    """The END of a stopped answer carries a status and nothing about errors."""
    _, meta = Entry.end(QUESTION_ID, 1, 3, Ending("stopped")).chunk()
    assert meta["status"] == "stopped"
    assert not {"error", "finishReason"} & set(meta)


def test_a_failed_ending_holds_what_the_client_may_know() -> None:
    """An error of ours becomes an ending with its code, message and retryable."""
    assert Ending.failed(ModelTimeout("Too slow.")) == Ending("failed", ERROR)


def test_a_notice_is_one_readable_line() -> None:
    """A notice shows the message as text, and is marked as one."""
    assert notice(QUESTION_ID, 2, ERROR) == (
        "Too slow.",
        {"questionId": QUESTION_ID, "attempt": 2, "notice": True},
    )


def test_a_failure_is_a_notice_and_an_end() -> None:
    """A reader that cannot go on shows why, and closes the answer; neither has a cursor."""
    line, end = failure(QUESTION_ID, 2, ERROR)
    assert line == notice(QUESTION_ID, 2, ERROR)
    assert end == (
        END,
        {"questionId": QUESTION_ID, "attempt": 2, "status": "failed", "error": ERROR},
    )


@pytest.mark.parametrize("error", [Interrupted(), Expired(), ModelTimeout()])
def test_a_refusal_is_a_whole_answer(error: AppError) -> None:
    """A refused question gets a START, one readable line and an END."""
    start, *rest = refusal(QUESTION_ID, error.payload)
    assert start == (START, {"questionId": QUESTION_ID, "attempt": 0, "number": 0})
    assert rest == failure(QUESTION_ID, 0, error.payload)
