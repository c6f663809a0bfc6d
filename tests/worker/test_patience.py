"""How long a model may keep silent, think, and answer."""

import pytest

from backend.protocol.errors import ModelTimeout
from backend.settings import Settings
from backend.worker.patience import THOUGHT_TOO_LONG, Patience

SETTINGS = Settings(
    model_first_piece_timeout_s=10,
    model_thinking_timeout_s=30,
    model_idle_timeout_s=2,
    answer_timeout_s=100,
)


@pytest.fixture
def patience() -> Patience:
    """Patience with a model that is asked at 1000."""
    return Patience(SETTINGS, 1000)


def test_a_model_may_keep_silent_for_long_before_it_speaks(patience: Patience) -> None:
    """Many models think without a sign."""
    assert patience.deadline == 1010


def test_a_sign_of_life_renews_patience_up_to_the_bound_on_thinking(patience: Patience) -> None:
    """However often a model shows that it thinks, its text has to begin in time."""
    patience.resume(1000)
    patience.pause(1008)
    patience.resume(1008)
    assert patience.deadline == 1018
    patience.pause(1025)
    patience.resume(1025)
    assert patience.deadline == 1030


def test_a_model_that_speaks_may_be_silent_for_less(patience: Patience) -> None:
    """Once the text has begun, thinking is over."""
    patience.speaks()
    patience.pause(1009)
    patience.resume(1009)
    assert patience.deadline == 1011
    patience.pause(1050)
    patience.resume(1050)
    assert patience.deadline == 1052


def test_the_whole_answer_has_its_time(patience: Patience) -> None:
    """No sign of life renews that."""
    patience.speaks()
    patience.pause(1099)
    patience.resume(1099)
    assert patience.deadline == 1100


def test_what_others_take_is_not_the_models_time(patience: Patience) -> None:
    """While Redis keeps us waiting only the time for the whole answer runs."""
    patience.pause(1005)
    assert patience.deadline == 1100
    patience.resume(1065)
    assert patience.deadline == 1075
    patience.pause(1075)
    patience.resume(1075)
    patience.pause(1084)
    patience.resume(1084)
    assert patience.deadline == 1090  # 30 s of thinking, and 60 for which Redis was away


def test_it_is_told_which_time_is_over(patience: Patience) -> None:
    """Whoever thought for too long was not silent."""
    assert str(patience.failure(1010)) == ModelTimeout.default_message
    assert str(patience.failure(1030)) == THOUGHT_TOO_LONG
    patience.speaks()
    assert str(patience.failure(1030)) == ModelTimeout.default_message
