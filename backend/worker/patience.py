"""How long a model may keep silent, think, and answer. Pure: loop times in, loop times out."""

from ..protocol.errors import ModelTimeout
from ..settings import Settings

THOUGHT_TOO_LONG = "The language model thought for too long without beginning its answer."


class Patience:
    """The deadlines of one answer, in the event loop's time.

    Silence is bounded by one time until the first text, for most models think before they
    speak, and many do so without a sign; and by a shorter one from then on.
    """

    def __init__(self, settings: Settings, now: float) -> None:
        self._idle_s = settings.model_idle_timeout_s
        self._silence_s = settings.model_first_piece_timeout_s
        self._text_by = now + settings.model_thinking_timeout_s
        self._answer_by = now + settings.answer_timeout_s
        self._paused_at = now
        self.deadline = 0.0
        self.resume(now)

    def resume(self, now: float) -> None:
        """Wait for the model; what others have kept us waiting for does not count against it."""
        self._text_by += now - self._paused_at
        self.deadline = min(now + self._silence_s, self._text_by, self._answer_by)

    def pause(self, now: float) -> None:
        """Wait for somebody else: only the time for the whole answer runs."""
        self._paused_at = now
        self.deadline = self._answer_by

    def speaks(self) -> None:
        """The answer has begun: thinking is over, and silence is bounded by less."""
        self._text_by = float("inf")
        self._silence_s = self._idle_s

    def failure(self, now: float) -> ModelTimeout:
        """The failure of a model that has missed its deadline."""
        return ModelTimeout(THOUGHT_TOO_LONG if now >= self._text_by else None)
