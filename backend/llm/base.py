"""What answers questions, as the worker sees it: a chain, and what it gives."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from ..protocol.entries import Usage


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Text that the model thinks. It may be empty: a sign that the model is at work."""

    text: str = ""


@dataclass(frozen=True, slots=True)
class Finish:
    """What a model gives last: why it stopped, and what that took.

    `reason` is one of the field's common words: `stop`, `length`, `content_filter`,
    `tool_calls`, `refusal`; or the provider's own; None where it told none. `model` is the
    name of the model as its provider told it.
    """

    reason: str | None = None
    usage: Usage | None = None
    model: str | None = None


Piece = str | Reasoning | Finish


class Chain(Protocol):
    """What answers questions."""

    def stream(self, topic: str, question: str) -> AsyncGenerator[Piece]:
        """Give the pieces of an answer, thought among them, and last a Finish.

        Raises ModelFailure. Closing or cancelling closes the connection to the provider.
        """

    async def aclose(self) -> None:
        """Let go of what the model holds open; nothing is asked any more."""
