"""Thought in `<think>` tags: some servers leave it at the start of the text. Pure."""

from collections.abc import Iterator

from .base import Reasoning

OPEN = "<think>"
CLOSE = "</think>"


class ThinkTags:
    """Tells thought from text, piece by piece.

    Only a text that begins with the tag, but for blanks, has thought in it: an answer may
    speak of the tag anywhere else. What may be the beginning of a tag is held back.
    """

    def __init__(self) -> None:
        self._held = ""
        self._read = self._before

    @property
    def are_past(self) -> bool:
        """Whether all that follows is text."""
        return self._read == self._text

    def read(self, text: str) -> Iterator[str | Reasoning]:
        """Give what a piece brings."""
        return self._read(text)

    def expect_none(self) -> None:
        """Take all that follows for text: the server tells thought in another way."""
        if self._read == self._before:
            self._read = self._text

    def end(self) -> Iterator[str | Reasoning]:
        """Give what was held back: no more comes."""
        held, self._held = self._held, ""
        if held:
            yield Reasoning(held) if self._read == self._thought else held

    def _before(self, text: str) -> Iterator[str | Reasoning]:
        self._held += text
        begun = self._held.lstrip()
        if begun.startswith(OPEN):
            self._held, self._read = "", self._thought
            yield from self._thought(begun.removeprefix(OPEN))
        elif not OPEN.startswith(begun):
            self._read = self._text
            yield from self._text("")

    def _thought(self, text: str) -> Iterator[str | Reasoning]:
        thought, tag, rest = (self._held + text).partition(CLOSE)
        self._held = "" if tag else _beginning_of_close(thought)
        if thought := thought.removesuffix(self._held):
            yield Reasoning(thought)
        if tag:
            self._read = self._behind
            yield from self._behind(rest)

    def _behind(self, text: str) -> Iterator[str | Reasoning]:
        """Drop the blank lines between thought and text."""
        if text := text.lstrip():
            self._read = self._text
            yield text

    def _text(self, text: str) -> Iterator[str | Reasoning]:
        held, self._held = self._held, ""
        if text := held + text:
            yield text


def _beginning_of_close(text: str) -> str:
    """The end of the text that may be the beginning of the closing tag."""
    for size in range(min(len(CLOSE) - 1, len(text)), 0, -1):
        if text.endswith(CLOSE[:size]):
            return CLOSE[:size]
    return ""
