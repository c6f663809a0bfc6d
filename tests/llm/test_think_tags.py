"""Thought in tags at the start of a text: told from the text, however it is cut."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.llm.base import Reasoning
from backend.llm.think_tags import ThinkTags


def split(pieces: Iterable[str]) -> tuple[str, str]:
    """The thought and the text in these pieces."""
    tags = ThinkTags()
    told = [told for piece in pieces for told in tags.read(piece)] + list(tags.end())
    assert all(piece.text if isinstance(piece, Reasoning) else piece for piece in told)
    thought = "".join(piece.text for piece in told if isinstance(piece, Reasoning))
    return thought, "".join(piece for piece in told if isinstance(piece, str))


@pytest.mark.parametrize(
    ("whole", "thought", "text"),
    [
        ("The sea is salty.", "", "The sea is salty."),
        ("<think>Salt?</think>The sea.", "Salt?", "The sea."),
        ("\n <think>\nSalt?\n</think>\n\nThe sea.", "\nSalt?\n", "The sea."),
        ("<think></think>\n\nThe sea.", "", "The sea."),
        ("<think>a < b </th </thinking> c</think>The sea.", "a < b </th </thinking> c", "The sea."),
        ("<think>Never done", "Never done", ""),
        ("<think>Nearly </thi", "Nearly </thi", ""),
        ("<think>Only thought</think>\n ", "Only thought", ""),
        ("The tag <think>x</think> is text.", "", "The tag <think>x</think> is text."),
        ("<think>a</think>b <think>c</think>", "a", "b <think>c</think>"),
        ("<thi", "", "<thi"),
        ("<thin>k", "", "<thin>k"),
        ("  indented", "", "  indented"),
        ("   ", "", "   "),
        ("", "", ""),
    ],
)
def test_thought_is_told_from_text_wherever_it_is_cut(whole: str, thought: str, text: str) -> None:
    """Only a text that begins with the tag holds thought; cuts change nothing."""
    assert split([whole]) == (thought, text)
    assert split(whole) == (thought, text)
    for cut in range(len(whole)):
        assert split([whole[:cut], whole[cut:]]) == (thought, text)


@given(st.lists(st.text("<>/think ab\n", max_size=6)))
def test_nothing_is_lost_without_a_tag(pieces: list[str]) -> None:
    """A text that does not begin with the tag comes out as it went in."""
    whole = "".join(pieces)
    if not whole.lstrip().startswith("<think>"):
        assert split(pieces) == ("", whole)


def test_text_is_held_back_only_while_it_may_be_a_tag() -> None:
    """The first piece is given at once where it cannot begin a tag."""
    tags = ThinkTags()
    assert list(tags.read("<t")) == []
    assert list(tags.read("able>")) == ["<table>"]
    assert tags.are_past
    assert list(tags.read("<think>")) == ["<think>"]


def test_a_server_that_tells_thought_otherwise_has_no_tags() -> None:
    """Where thought came beside the text, the tag is text."""
    tags = ThinkTags()
    tags.expect_none()
    assert list(tags.read("<think>x")) == ["<think>x"]
