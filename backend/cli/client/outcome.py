"""How a question ended for the client, and the view that shows its answer meanwhile."""

from dataclasses import dataclass
from typing import Literal, Protocol

from ...protocol.entries import Usage
from ...protocol.errors import ErrorPayload

OutcomeStatus = Literal["done", "stopped", "failed", "refused", "unreachable", "timeout"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a question ended for us. The answer itself may go on where we no longer look."""

    question_id: str
    status: OutcomeStatus
    text: str = ""
    error: ErrorPayload | None = None
    finish_reason: str | None = None
    attempt: int = 0
    first_piece_s: float | None = None  # since the question was asked
    total_s: float = 0.0
    reasoning: str = ""  # what the model thought, as far as the server tells
    usage: Usage | None = None
    model: str | None = None  # as its provider names it


class View(Protocol):
    """Shows an answer while it comes."""

    async def thought(self, text: str) -> None:
        """Text that the model thinks, which is no part of the answer; the rest as for a piece."""

    async def piece(self, text: str) -> None:
        """Text of the answer; what follows comes once this has returned."""

    def restarted(self, attempt: int) -> None:
        """All text and thought so far is void: another attempt answers from the start."""

    def note(self, text: str) -> None:
        """Something that whoever waits may want to know."""
