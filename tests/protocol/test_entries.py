"""The wire vocabulary, and the fold: every reader comes to the same answer."""

import contextlib
import dataclasses
import itertools
import json
from collections.abc import Iterable
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
from backend.protocol.transcript import Fold, Transcript

QUESTION_ID = "6f1c9f5e-3c0b-4a57-9d3e-6a2f0c6b1d11"
START = "START:6f1c9f5e-3c0b-4a57-9d3e-6a2f0c6b1d11;<br/>"
END = "<br/>;END:6f1c9f5e-3c0b-4a57-9d3e-6a2f0c6b1d11"
ERROR: ErrorPayload = {"code": "model_timeout", "message": "Too slow.", "retryable": True}
DONE = Ending("done", finish_reason="stop")

# Words of a model, among them such as look like labels.
texts = st.sampled_from(["a", "b ", "\n", "<br/>", "{topic}", START, END, START + END]) | st.text(
    max_size=4
)
errors = st.builds(
    lambda code, message, retryable: ErrorPayload(code=code, message=message, retryable=retryable),
    st.text(),
    st.text(),
    st.booleans(),
)
tokens = st.none() | st.integers(min_value=0, max_value=MAX_TOKENS)
usages = st.builds(Usage, tokens, tokens, tokens).filter(bool)
endings = st.builds(
    Ending,
    st.sampled_from(FINAL_STATUSES),
    st.none() | errors,
    st.none() | st.text(min_size=1),
    st.none() | usages,
    st.none() | st.text(min_size=1),
)
numbers = st.integers(min_value=0, max_value=2**63)
entries = st.builds(Entry, st.text(), st.text(), numbers, numbers, st.none() | endings) | st.builds(
    Entry, st.text(), st.just(""), numbers, numbers, reasoning=st.text(min_size=1)
)


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


@given(entries)
def test_an_entry_is_read_back_from_its_row(entry: Entry) -> None:
    """The short form, which goes through JSON into the archive, says the same as the fields."""
    stored = dataclasses.replace(entry, id="5-1")
    row = json.loads(json.dumps(stored.row()))
    assert Entry.from_row(entry.question_id, row) == stored


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


# The fold

Stream = list[Entry]


@dataclasses.dataclass(frozen=True)
class History:
    """What several attempts have written, in the order in which it stands in the stream."""

    pieces: dict[int, list[str]]  # of each attempt, had it been finished
    stream: Stream


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Any stream that workers can leave behind, with lost replies, crashes and stale workers."""
    pieces = {
        attempt: draw(st.lists(texts, max_size=4))
        for attempt in range(1, draw(st.integers(1, 4)) + 1)
    }
    written = {attempt: _written(draw, attempt, own) for attempt, own in pieces.items()}
    # Interleaved in any way: a stale attempt goes on beside a newer one.
    turns = draw(st.permutations([a for a, own in written.items() for _ in own]))
    ordered = [written[attempt].pop(0) for attempt in turns]
    stream = [dataclasses.replace(entry, id=f"7-{at}") for at, entry in enumerate(ordered)]
    return History(pieces, stream)


def _written(draw: st.DrawFn, attempt: int, pieces: list[str]) -> Stream:
    """What one attempt leaves: in order, parts of it sent again, cut off where it died."""
    whole = [Entry.start(QUESTION_ID, attempt)]
    whole += [Entry(QUESTION_ID, text, attempt, at) for at, text in enumerate(pieces, start=1)]
    whole.append(Entry.end(QUESTION_ID, attempt, len(whole), draw(st.sampled_from(ENDINGS))))
    left: Stream = []
    reached = 0
    for _ in range(draw(st.integers(0, 5))):
        begin = draw(st.integers(0, reached))  # below `reached`: sent before, or a part of it
        end = draw(st.integers(begin, len(whole)))
        left += whole[begin:end]
        reached = max(reached, end)
    return left


ENDINGS = [DONE, Ending("stopped"), Ending("failed", ERROR)]


def shown(stream: Iterable[Entry], fold: Fold | None = None) -> Stream:
    """The entries that a reader shows."""
    fold = fold or Fold()
    return [entry for entry in stream if fold.admits(entry)]


def text_shown(shown_entries: Stream) -> str:
    """What a page shows of them: each START begins anew."""
    text = ""
    for entry in shown_entries:
        text = "" if entry.is_start else text + entry.text if entry.is_piece else text
    return text


def deciding(stream: Stream) -> tuple[int, Ending | None]:
    """The attempt that has the last word, and how it ended, by the definition of the fold.

    It is the first one to end before a newer one begins, else the newest.
    """
    newest = 0
    for entry in stream:
        newest = max(newest, entry.attempt)
        if entry.ending and entry.attempt == newest:
            return newest, entry.ending
    return newest, None


def text_written(stream: Stream, attempt: int) -> str:
    """All that one attempt has written, each number once."""
    texts = {e.number: e.text for e in stream if e.attempt == attempt and e.is_piece}
    return "".join(texts[number] for number in sorted(texts))


@given(histories())
def test_the_fold_shows_the_deciding_attempt(history: History) -> None:
    """Whatever the order, the answer is that of the attempt that has the last word."""
    attempt, _ = deciding(history.stream)
    assert text_shown(shown(history.stream)) == text_written(history.stream, attempt)


@given(histories())
def test_an_ended_answer_is_whole(history: History) -> None:
    """An answer that has ended holds every piece of its attempt, once and in order."""
    attempt, ending = deciding(history.stream)
    if ending:
        assert text_shown(shown(history.stream)) == "".join(history.pieces[attempt])


@given(histories())
def test_an_answer_ends_once(history: History) -> None:
    """There is one END, it is the deciding attempt's, and nothing is shown behind it."""
    _, ending = deciding(history.stream)
    ends = [at for at, entry in enumerate(shown(history.stream)) if entry.ending]
    assert ends == ([len(shown(history.stream)) - 1] if ending else [])
    assert not ending or shown(history.stream)[-1].ending == ending


@given(histories())
def test_each_attempt_is_shown_from_its_start_without_a_hole(history: History) -> None:
    """Within what is shown, attempts only grow, and numbers count from 0 by one."""
    before = (0, -1)
    for entry in shown(history.stream):
        follows = entry.attempt == before[0] and entry.number == before[1] + 1
        begins = entry.attempt > before[0] and entry.number == 0
        assert follows or begins
        before = (entry.attempt, entry.number)


@given(histories())
def test_a_reader_may_start_behind_any_entry_it_was_shown(history: History) -> None:
    """Who resumes after an entry is shown exactly what it would have been shown."""
    whole = shown(history.stream)
    for at, entry in enumerate(whole):
        if not entry.ending:
            behind = history.stream[history.stream.index(entry) + 1 :]
            assert shown(behind, Fold(entry.attempt, entry.number + 1)) == whole[at + 1 :]


@given(histories(), st.data())
def test_a_lost_entry_is_noticed(history: History, data: st.DataObject) -> None:
    """Where an entry in the middle is gone for good, the reader raises Expired."""
    whole = shown(history.stream)
    middles = [
        entry
        for entry, following in itertools.pairwise(whole)
        if entry.number > 0 and following.attempt == entry.attempt
    ]
    if middles:
        lost = data.draw(st.sampled_from(middles))
        rest = [e for e in history.stream if (e.attempt, e.number) != (lost.attempt, lost.number)]
        with pytest.raises(Expired):
            shown(rest)


@given(histories(), st.data())
def test_text_with_a_hole_is_never_shown(history: History, data: st.DataObject) -> None:
    """Whatever is gone from the stream, what is shown is the beginning of one attempt's text."""
    kept = data.draw(
        st.lists(st.booleans(), min_size=len(history.stream), max_size=len(history.stream))
    )
    transcript = Transcript()
    expired = False
    for entry, keep in zip(history.stream, kept, strict=True):
        try:
            if keep:
                transcript.add(entry)
        except Expired:
            expired = True
            break
    whole = "".join(history.pieces.get(transcript.fold.attempt, []))
    assert whole.startswith(transcript.text)
    if transcript.ending and not expired:
        assert transcript.text == whole


@given(histories())
def test_a_transcript_is_what_the_fold_shows(history: History) -> None:
    """A transcript has the text, the ending and the first and last id of what is shown."""
    transcript = Transcript()
    for entry in history.stream:
        transcript.add(entry)
    whole = shown(history.stream)
    assert transcript.text == text_shown(whole)
    assert transcript.ending == deciding(history.stream)[1]
    assert transcript.last_id == (whole[-1].id if whole else "")
    starts = [entry.id for entry in whole if entry.is_start]
    assert transcript.start_id == (starts[-1] if starts else "")


def test_a_transcript_tells_thought_from_text() -> None:
    """Thought goes with its attempt, and what was last said with what was thought before it."""
    transcript = Transcript()

    def add(*entries: Entry) -> tuple[str, str]:
        for entry in entries:
            transcript.add(entry)
        return transcript.last_reasoning, transcript.last_words

    def thought(attempt: int, number: int, words: str) -> Entry:
        return Entry(QUESTION_ID, "", attempt, number, reasoning=words)

    assert add(Entry.start(QUESTION_ID, 1), thought(1, 1, "hm ")) == ("hm ", "")
    assert add(Entry(QUESTION_ID, "It", 1, 2), thought(1, 3, "so")) == ("hm so", "It")
    assert (transcript.reasoning, transcript.text) == ("hm so", "It")
    assert add(Entry.start(QUESTION_ID, 2), thought(2, 1, "or")) == ("hm so", "It")
    assert (transcript.reasoning, transcript.text) == ("or", "")
    assert add(Entry(QUESTION_ID, "is", 2, 2)) == ("or", "is")


def attempt_of(attempt: int, *pieces: str, ending: Ending | None = DONE) -> Stream:
    """The entries of one attempt."""
    stream = [Entry.start(QUESTION_ID, attempt)]
    stream += [Entry(QUESTION_ID, text, attempt, at) for at, text in enumerate(pieces, start=1)]
    if ending:
        stream.append(Entry.end(QUESTION_ID, attempt, len(stream), ending))
    return stream


def test_a_retried_write_counts_once() -> None:
    """A batch that was written twice, because its reply was lost, counts once."""
    start, a, b, end = attempt_of(1, "a", "b")
    assert shown([start, a, b, a, b, end, b, end]) == [start, a, b, end]


def test_a_stale_worker_is_not_heard() -> None:
    """What an attempt writes after a newer one has begun is ignored, its END as well."""
    start, a, b, end = attempt_of(1, "a", "b")
    newer = attempt_of(2, "c")
    assert shown([start, a, newer[0], b, newer[1], end, newer[2]]) == [start, a, *newer]


def test_an_ended_answer_stays_as_it_is() -> None:
    """A newer attempt that begins after the END changes nothing."""
    first = attempt_of(1, "a")
    assert shown(first + attempt_of(2, "b")) == first


def test_an_attempt_whose_start_comes_late_is_not_heard() -> None:
    """An older START behind a newer one does not begin the answer again."""
    newer = attempt_of(2, "b", ending=None)
    assert shown(newer + attempt_of(1, "a")) == newer


def test_words_that_look_like_labels_are_words() -> None:
    """An answer that quotes its own labels is shown as it was said."""
    said = ["before ", START, END, " after"]
    assert text_shown(shown(attempt_of(1, *said))) == "".join(said)


def test_an_attempt_without_its_start_is_expired() -> None:
    """An attempt whose START is gone is not shown from its middle on."""
    with pytest.raises(Expired):
        shown(attempt_of(1, "a", "b")[1:])


def test_a_newer_attempt_without_its_start_is_expired() -> None:
    """A piece of a newer attempt is not taken for one of the current attempt."""
    stray = Entry(QUESTION_ID, "c", 2, 2)
    with pytest.raises(Expired):
        shown([*attempt_of(1, "a", ending=None), stray])


def test_an_empty_answer_is_an_answer() -> None:
    """An attempt may end without a word."""
    transcript = Transcript()
    for entry in attempt_of(1):
        transcript.add(entry)
    assert (transcript.text, transcript.ending) == ("", DONE)


@given(st.lists(entries))
def test_any_entries_are_shown_passed_over_or_expired(stream: Stream) -> None:
    """Entries that no worker of ours has written raise nothing but Expired."""
    with contextlib.suppress(Expired):
        assert len(shown(stream)) <= len(stream)
