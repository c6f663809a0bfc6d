"""The fold: every reader comes to the same answer."""

import contextlib
import dataclasses
import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.protocol.entries import Ending, Entry
from backend.protocol.errors import Expired
from backend.protocol.transcript import Fold, Transcript
from tests.protocol.any_entries import DONE, END, ERROR, QUESTION_ID, START, entries, texts

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
