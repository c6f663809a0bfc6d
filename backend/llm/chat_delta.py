"""Reads one delta of Chat Completions, whatever server has sent it: text, thought, tool calls."""

from collections.abc import Iterator
from typing import Any

TEXT = "content"
THOUGHT = "reasoning_content"

Delta = dict[str, Any]


def first_choice(event: Delta) -> Delta | None:
    """The choice with the index 0, which may be left out; None where there is none."""
    choices = event.get("choices")
    if not isinstance(choices, list):
        return None
    firsts = (choice for choice in choices if isinstance(choice, dict) and not choice.get("index"))
    return next(firsts, None)


def regular_delta(delta: Delta) -> Delta:
    """What a delta says, in the names and types that LangChain takes.

    A refusal is text. What has another type than it should is left out.
    """
    content = delta.get(TEXT)
    text, thought = _parts(content) if isinstance(content, list) else (_text(content), "")
    text += _text(delta.get("refusal"))
    thought = _thought(delta) or thought
    regular: Delta = {"role": "assistant"} if delta.get("role") else {}
    if text or isinstance(content, str):
        regular[TEXT] = text
    if thought:
        regular[THOUGHT] = thought
    if calls := _tool_calls(delta.get("tool_calls")):
        regular["tool_calls"] = calls
    if _is_function(call := delta.get("function_call")):
        regular["function_call"] = call
    return regular


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _parts(content: list[Any]) -> tuple[str, str]:
    """The text and the thought in a list of parts, as Mistral sends them."""
    text = thought = ""
    for part in content:
        match part:
            case str():
                text += part
            case {"type": "thinking" | "reasoning" as kind}:
                told = part.get(kind) or part.get("text")
                thought += _parts(told)[0] if isinstance(told, list) else _text(told)
            case {"type": "refusal", "refusal": str(words)} | {"text": str(words)}:
                text += words
    return text, thought


def _thought(delta: Delta) -> str:
    """The thought under the first name that has any: some servers send it under two."""
    for name in (THOUGHT, "reasoning"):
        if thought := _text(delta.get(name)):
            return thought
    details = delta.get("reasoning_details")  # OpenRouter
    return "".join(_details(details)) if isinstance(details, list) else ""


def _details(details: list[Any]) -> Iterator[str]:
    for detail in details:
        match detail:
            case {"type": "reasoning.text", "text": str(words)}:
                yield words
            case {"type": "reasoning.summary", "summary": str(words)}:
                yield words


def _tool_calls(calls: Any) -> list[Delta]:
    """The well-formed calls. Where the index is left out, as by Gemini, it is the place."""
    if not isinstance(calls, list):
        return []
    return [
        {**call, "index": call.get("index", place)}
        for place, call in enumerate(calls)
        if isinstance(call, dict)
        and _is_function(call.get("function"))
        and isinstance(call.get("id"), str | None)
        and isinstance(call.get("index", place), int)
    ]


def _is_function(call: Any) -> bool:
    return isinstance(call, dict) and all(
        isinstance(call.get(name), str | None) for name in ("name", "arguments")
    )
