"""The answer in one piece: what the replies to a POST mean."""

import pytest

from backend.cli.client.address import BackendAddress
from backend.cli.client.outcome import Outcome
from backend.cli.client.post import post_question
from tests.fakes.fake_backend import FakeBackend, Payload
from tests.fakes.rig import new_ask

PATIENCE_S = 10.0
ERROR = {"code": "model_error", "message": "No.", "retryable": False}


async def posted(status: int, reply: Payload) -> Outcome:
    """The outcome of a question that is answered like this."""
    backend = FakeBackend()
    backend.post_status, backend.posted = status, reply
    async with backend.serving():
        return await post_question(BackendAddress(backend.url), new_ask(), PATIENCE_S)


async def test_an_answer() -> None:
    """The output is the answer; that it was thought about, and what it took, is not told."""
    outcome = await posted(200, {"output": "One."})
    assert (outcome.status, outcome.text, outcome.error) == ("done", "One.", None)
    assert (outcome.reasoning, outcome.usage, outcome.model) == ("", None, None)


async def test_a_line_about_a_failure_is_no_answer() -> None:
    """Beside an error the output is a line for old pages, and no text of the model."""
    outcome = await posted(500, {"output": "No.", "error": ERROR})
    assert (outcome.status, outcome.text, outcome.error) == ("failed", "", ERROR)


@pytest.mark.parametrize("reply", [{"error": "a word"}, {"error": {}}, {"output": 4}])
async def test_a_failure_that_makes_no_sense(reply: Payload) -> None:
    """Where a reply cannot be read, the question has failed somehow."""
    outcome = await posted(500, reply)
    assert outcome.status in ("failed", "unreachable")
    assert outcome.error
