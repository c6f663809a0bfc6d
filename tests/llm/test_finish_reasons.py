"""The reasons of all providers, in the field's common words."""

import enum
from typing import Any

import pytest

from backend.llm.finish_reasons import as_word, finish_reason


class Reason(enum.Enum):
    """As some integrations give it."""

    SAFETY = 3


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({}, None),
        ({"model_provider": "openai"}, None),
        ({"finish_reason": "stop"}, "stop"),
        ({"finish_reason": "length"}, "length"),
        ({"finish_reason": "content_filter"}, "content_filter"),
        ({"finish_reason": "tool_calls"}, "tool_calls"),
        ({"finish_reason": "function_call"}, "tool_calls"),
        ({"finish_reason": "error"}, "error"),
        ({"finish_reason": "insufficient_system_resource"}, "error"),
        ({"finish_reason": "STOP"}, "stop"),
        ({"finish_reason": "MAX_TOKENS"}, "length"),
        ({"finish_reason": "SAFETY"}, "content_filter"),
        ({"finish_reason": Reason.SAFETY}, "content_filter"),
        ({"finish_reason": "MALFORMED_FUNCTION_CALL"}, "error"),
        ({"prompt_feedback": {"block_reason": "SAFETY"}}, "content_filter"),
        ({"stop_reason": "end_turn"}, "stop"),
        ({"stop_reason": "stop_sequence"}, "stop"),
        ({"stop_reason": "max_tokens"}, "length"),
        ({"stop_reason": "tool_use"}, "tool_calls"),
        ({"stop_reason": "refusal"}, "refusal"),
        ({"stopReason": "guardrail_intervened"}, "content_filter"),
        ({"done": True, "done_reason": "stop"}, "stop"),
        ({"done_reason": "length"}, "length"),
        ({"finish_reason": "model_length"}, "length"),
        ({"status": "completed"}, "stop"),
        ({"status": "completed", "incomplete_details": None}, "stop"),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length"),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}},
            "content_filter",
        ),
        ({"status": "incomplete"}, "length"),
        ({"status": "failed"}, "error"),
        ({"finish_reason": "a word of its own"}, "a word of its own"),
    ],
    ids=str,
)
def test_reasons_are_told_in_common_words(metadata: dict[str, Any], reason: str | None) -> None:
    """Whatever the provider calls it, and wherever its integration keeps it."""
    assert finish_reason(metadata) == reason


@pytest.mark.parametrize("value", [{"a": 1}, ["stop"], 5, "x" * 1_000, "\ud800"], ids=ascii)
def test_a_reason_that_is_no_word_can_be_stored(value: Any) -> None:
    """Whatever a provider gives becomes a short text that UTF-8 can hold."""
    reason = finish_reason({"finish_reason": value})
    assert reason == as_word(value)
    assert reason is not None
    assert len(reason) <= 64
    reason.encode()
