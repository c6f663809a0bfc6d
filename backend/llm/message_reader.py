"""Reads what the chat models of LangChain say: text, thought, and how it ended."""

from collections.abc import Iterable, Iterator
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata

from ..protocol.entries import Usage
from .base import Finish, Reasoning
from .finish_reasons import MAX_MODEL_CHARS, as_word, finish_reason
from .think_tags import ThinkTags

_OF_EVERY_MESSAGE = frozenset({"model_provider"})  # metadata that says nothing about the end
_MODEL_KEYS = ("model_name", "model", "model_id")


class MessageReader:
    """The messages of one answer, read one after the other.

    `reason`, `has_text` and `has_begun` say what has come so far. With `sums_usage` the counts
    of several messages are summands, as LangChain has it; without, each replaces the one before.
    """

    def __init__(self, *, sums_usage: bool = True) -> None:
        self.reason: str | None = None
        self.has_text = False
        self.has_begun = False  # with text, or with thought
        self._sums_usage = sums_usage
        self._tags = ThinkTags()
        self._usage = Usage()
        self._model: str | None = None
        self._calls_tools = False
        self._refuses = False

    def read(self, message: AIMessage) -> Iterable[str | Reasoning]:
        """Give the text and the thought of a message, in their order."""
        self._note(message)
        content = message.content
        if not isinstance(content, str):
            return self._read_blocks(message)
        if message.additional_kwargs:
            return self._read_beside(message, content)
        if not content:
            return (Reasoning(),) if self._calls_tools else ()
        if self._tags.are_past:  # nearly every piece of an answer
            self.has_text = self.has_begun = True
            return (content,)
        return self._say(content)

    def end(self) -> Iterator[str | Reasoning]:
        """Give what was held back: the last message has come."""
        yield from self._seen(self._tags.end())

    @property
    def finish(self) -> Finish:
        """How the answer ended, and what it took."""
        reason = self.reason
        if reason in (None, "stop"):
            reason = (self._refuses and "refusal") or (self._calls_tools and "tool_calls") or reason
        return Finish(reason or None, self._usage or None, self._model)

    def _say(self, text: str) -> Iterator[str | Reasoning]:
        yield from self._seen(self._tags.read(text)) if text else ()

    def _seen(self, pieces: Iterator[str | Reasoning]) -> Iterator[str | Reasoning]:
        for piece in pieces:
            self.has_begun = True
            self.has_text = self.has_text or isinstance(piece, str)
            yield piece

    def _think(self, text: str) -> Iterator[Reasoning]:
        self._tags.expect_none()
        self.has_begun = True
        yield Reasoning(text)

    def _read_beside(self, message: AIMessage, text: str) -> Iterator[str | Reasoning]:
        """Read a text with what stands beside it, as of most that speak Chat Completions."""
        beside = message.additional_kwargs
        if thought := _words(beside.get("reasoning_content") or beside.get("reasoning")):
            yield from self._think(thought)
        if refusal := _words(beside.get("refusal")):
            yield from self._refuse(refusal)
        yield from self._say(text)

    def _read_blocks(self, message: AIMessage) -> Iterator[str | Reasoning]:
        for block in message.content_blocks:
            match block:
                case {"type": "text", "text": str(text)}:
                    yield from self._say(text)
                case {"type": "reasoning", **rest}:
                    yield from self._think(_words(rest.get("reasoning")))
                case {"type": "refusal", "refusal": str(text)} | {
                    "type": "non_standard",
                    "value": {"type": "refusal", "refusal": str(text)},
                }:
                    yield from self._refuse(text)
                case _:  # a tool call, a thought that is encrypted: a sign of life
                    yield Reasoning()

    def _refuse(self, text: str) -> Iterator[str | Reasoning]:
        self._refuses = True
        yield from self._say(text)

    def _note(self, message: AIMessage) -> None:
        if message.tool_calls or (isinstance(message, AIMessageChunk) and message.tool_call_chunks):
            self._calls_tools = True
        metadata = message.response_metadata
        if metadata.keys() - _OF_EVERY_MESSAGE:
            self.reason = finish_reason(metadata) or self.reason
            names = (name for key in _MODEL_KEYS if (name := metadata.get(key)))
            if name := next(names, None):
                self._model = as_word(name, MAX_MODEL_CHARS)
        if message.usage_metadata:
            told = _usage(message.usage_metadata)
            self._usage = _sum(self._usage, told) if self._sums_usage else told


def _words(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _usage(told: UsageMetadata) -> Usage:
    """The counts of a message. LangChain writes 0 for what a provider did not tell."""
    details = told.get("output_token_details") or {}
    return Usage(
        _count(told.get("input_tokens")) or None,
        _count(told.get("output_tokens")) or None,
        _count(details.get("reasoning")),
    )


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(
        _added((one.input_tokens, other.input_tokens)),
        _added((one.output_tokens, other.output_tokens)),
        _added((one.reasoning_tokens, other.reasoning_tokens)),
    )


def _added(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
