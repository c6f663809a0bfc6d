"""Names of streams: one for all, for each user, or for each question."""

import pytest

from backend.protocol.stream_names import StreamNames, is_own

QUESTION_ID = "3e2a5d50-9d43-4f30-8a0e-3f5a6c0f5a55"


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("OPENAI_STREAM", "OPENAI_STREAM"),
        ("answers:{userId}", "answers:ann"),
        ("a:{questionId}", f"a:{QUESTION_ID}"),
        ("{userId}:{questionId}", f"ann:{QUESTION_ID}"),
    ],
)
def test_a_name_follows_the_pattern(pattern: str, name: str) -> None:
    """Who asks, and what, are put where the pattern says."""
    assert StreamNames(pattern).name(QUESTION_ID, "ann") == name


def test_a_pattern_without_braces_is_one_stream_for_all() -> None:
    """Only a name that is the same for everybody is shared."""
    assert StreamNames("OPENAI_STREAM").shared == "OPENAI_STREAM"
    assert StreamNames("OPENAI_STREAM:{userId}").shared is None
    assert StreamNames("OPENAI_STREAM:{questionId}").shared is None


@pytest.mark.parametrize("pattern", ["{", "}", "{}", "{user}", "a{questionId", "{{userId}}"])
def test_other_braces_are_refused(pattern: str) -> None:
    """What looks like a placeholder and is none is no name."""
    with pytest.raises(ValueError, match="questionId"):
        StreamNames(pattern)


def test_a_stream_is_the_question_s_own_if_it_is_named_after_it() -> None:
    """That is seen in the name, whatever pattern another server has."""
    assert is_own(f"anything/{QUESTION_ID}", QUESTION_ID)
    assert not is_own("OPENAI_STREAM:ann", QUESTION_ID)
