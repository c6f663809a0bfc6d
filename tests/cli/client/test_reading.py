"""What a client makes of the chunks that it gets, whoever sends them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.cli.client.inbox import MOST_WAITING, ChunkEvent, Inbox, Lost
from backend.cli.client.reading import Reading, parse_chunk, parse_ending
from backend.protocol.entries import Ending, Entry, Usage
from backend.protocol.errors import Expired
from tests.fakes.rig import whole_answer

OURS = "00000000-0000-4000-8000-000000000000"


def chunks(*pieces: str, attempt: int = 1) -> list[ChunkEvent]:
    """The chunks of a whole answer, as a server sends them."""
    return [ChunkEvent(*entry.chunk()) for entry in whole_answer(OURS, *pieces, attempt=attempt)]


def thinking(*thoughts: str, attempt: int = 1) -> list[ChunkEvent]:
    """The chunks of an answer whose model has only thought so far."""
    entries = [
        Entry.start(OURS, attempt),
        *(Entry(OURS, "", attempt, n, reasoning=each) for n, each in enumerate(thoughts, 1)),
    ]
    return [ChunkEvent(*entry.chunk()) for entry in entries]


def read(*given: ChunkEvent) -> Reading:
    """A reading that was given these."""
    reading = Reading(OURS)
    for chunk in given:
        reading.take(chunk)
    return reading


def test_an_answer_is_folded() -> None:
    """START, pieces and END make the words, and the ending."""
    reading = read(*chunks("One, ", "two."))
    assert (reading.text, reading.ending, reading.attempt) == ("One, two.", Ending("done"), 1)


def test_what_comes_twice_counts_once() -> None:
    """A resume that begins too early does no harm."""
    start, one, two, end = chunks("One, ", "two.")
    assert read(start, one, start, one, two, end).text == "One, two."


def test_a_new_attempt_begins_anew() -> None:
    """The words of an attempt that broke off are void."""
    broken = chunks("Never ")[:-1]
    reading = read(*broken, *chunks("One.", attempt=2), *broken)
    assert (reading.text, reading.attempt) == ("One.", 2)


def test_thought_is_no_part_of_the_answer() -> None:
    """What the model thinks is folded beside the text."""
    text = ChunkEvent(*Entry(OURS, "Yes.", 1, 3).chunk())
    reading = read(*thinking("Is it? ", "It is."), text)
    assert (reading.reasoning, reading.text) == ("Is it? It is.", "Yes.")


def test_thought_is_no_first_piece() -> None:
    """The first piece is the first one of text, even where an empty one comes before it."""
    reading = read(*thinking("Hm."), ChunkEvent(*Entry(OURS, "", 1, 2).chunk()))
    assert reading.first_piece_at is None
    reading.take(ChunkEvent(*Entry(OURS, "Yes.", 1, 3).chunk()))
    assert reading.first_piece_at is not None


def test_a_new_attempt_thinks_anew() -> None:
    """The thought of an attempt that broke off is void."""
    assert read(*thinking("Never."), *thinking("Hm.", attempt=2)).reasoning == "Hm."


def test_a_hole_is_noticed() -> None:
    """A piece that is missing is no matter of luck."""
    start, _, two, _ = chunks("One, ", "two.")
    with pytest.raises(Expired):
        read(start, two)


@pytest.mark.parametrize(
    "entry",
    [
        Entry(OURS, "", 2, 3, id="1-1", reasoning="Hm."),
        Entry.end(OURS, 2, 7, Ending("done", finish_reason="length")),
        Entry.end(OURS, 2, 7, Ending("done", None, "stop", Usage(3, 90, 50), "gpt-6-luna")),
    ],
)
def test_entries_are_what_the_server_has(entry: Entry) -> None:
    """An entry that went through a chunk is the same entry."""
    assert parse_chunk(ChunkEvent(*entry.chunk())) == entry


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=5,
)
ending_keys = st.sampled_from(["error", "finishReason", "usage", "model", "reasoning"])
keys = st.sampled_from(["questionId", "id", "attempt", "number", "status"]) | ending_keys


@given(st.dictionaries(ending_keys, json_values))
def test_any_ending_is_an_ending(meta: dict[str, Any]) -> None:
    """However wrong what an END tells is, it ends the answer; nothing of a wrong type is kept."""
    ending = parse_ending({"status": "failed", **meta})
    assert ending
    assert ending.status == "failed"
    assert isinstance(ending.error, dict | None)
    assert isinstance(ending.usage, Usage | None)
    assert isinstance(ending.finish_reason, str | None)
    assert isinstance(ending.model, str | None)


@given(json_values)
def test_any_thought_is_text_or_none(reasoning: Any) -> None:
    """What is no text counts as no thought; the entry stands all the same."""
    meta = {"questionId": OURS, "id": "1-1", "attempt": 1, "number": 1, "reasoning": reasoning}
    entry = parse_chunk(ChunkEvent("", meta))
    assert entry
    assert entry.reasoning == (reasoning if isinstance(reasoning, str) else "")


@given(st.dictionaries(keys, json_values), st.text())
def test_any_meta_is_read_or_passed_over(meta: dict[str, Any], text: str) -> None:
    """Whatever a server puts into meta, no more than a hole comes of it."""
    reading = Reading(OURS)
    chunk = ChunkEvent(text, meta)
    reading.is_ours(chunk)
    try:
        reading.take(chunk)
    except Expired:
        assert meta["attempt"] > 0


@pytest.mark.parametrize(
    "meta",
    [
        {"questionId": "another"},
        {"questionId": OURS, "attempt": 0},
        {"questionId": OURS, "notice": True},
    ],
)
def test_what_is_not_ours(meta: dict[str, Any]) -> None:
    """Another's chunks, refusals and lines for old pages are not part of the answer."""
    assert not Reading(OURS).is_ours(ChunkEvent("Not for us.", {"attempt": 1, **meta}))


async def test_an_inbox_is_bounded() -> None:
    """Too much that nobody takes is a lost connection, behind what has come before it."""
    inbox = Inbox()
    for _ in range(MOST_WAITING + 10):
        inbox.put(ChunkEvent("word", {}))
    taken = [await inbox.get() for _ in range(MOST_WAITING)]
    assert taken == [ChunkEvent("word", {})] * MOST_WAITING
    assert await inbox.get() == Lost()
    inbox.put(ChunkEvent("late", {}))
    assert inbox._waiting.empty()
