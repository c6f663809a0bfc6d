"""What became of a question, and whoever watches it come about."""

from dataclasses import dataclass
from typing import Literal, Protocol

from ..errors import ErrorPayload

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


class View(Protocol):
    """Shows an answer while it comes."""

    async def piece(self, text: str) -> None:
        """Words of the answer; the next ones come once this has returned."""

    def begun_anew(self, attempt: int) -> None:
        """All words so far are void: another worker answers from the start."""

    def note(self, text: str) -> None:
        """Something that whoever waits may want to know."""
