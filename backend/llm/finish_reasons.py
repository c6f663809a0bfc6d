"""Why a model stopped, in the field's common words, whatever its provider calls it. Pure."""

from collections.abc import Mapping
from typing import Any

MAX_WORD_CHARS = 64  # of a reason or an identifier: a word, though a provider may send anything
MAX_MODEL_CHARS = 128  # of a model's name

# Where the integrations of LangChain keep it: OpenAI's Chat Completions, Gemini and Mistral;
# Anthropic; Bedrock; Ollama.
_KEYS = ("finish_reason", "stop_reason", "stopReason", "done_reason")

_COMMON = {
    "stop": ("end", "end_turn", "complete", "completed", "eos", "eos_token", "stop_sequence",
             "pause_turn", "finish_reason_stop"),
    "length": ("max_tokens", "max_output_tokens", "model_length", "max_length",
               "model_context_window_exceeded", "incomplete", "finish_reason_max_tokens"),
    "content_filter": ("safety", "recitation", "blocklist", "prohibited_content", "spii",
                       "image_safety", "content_filtered", "guardrail_intervened", "sensitive"),
    "tool_calls": ("tool_use", "function_call", "tool_call"),
    "refusal": ("refused",),
    "error": ("failed", "cancelled", "canceled", "network_error", "malformed_function_call",
              "unexpected_tool_call", "insufficient_system_resource", "abort", "unload"),
}  # fmt: skip
_WORDS = {word: common for common, words in _COMMON.items() for word in (common, *words)}


def finish_reason(metadata: Mapping[str, Any]) -> str | None:
    """The reason in the metadata of a message, in the common word if there is one."""
    told = next((reason for key in _KEYS if (reason := metadata.get(key))), None)
    if told is None and (status := metadata.get("status")):  # OpenAI's Responses
        details = metadata.get("incomplete_details")
        told = details.get("reason") if isinstance(details, Mapping) else None
        told = told or status
    if told is None:
        # Gemini gives no reason where it has blocked the question.
        return "content_filter" if metadata.get("prompt_feedback") else None
    word = as_word(getattr(told, "name", told))
    return _WORDS.get(word.lower(), word)


def as_word(value: Any, max_chars: int = MAX_WORD_CHARS) -> str:
    """A provider's word, made short, and such that it can be stored."""
    return str(value)[:max_chars].encode(errors="replace").decode()
