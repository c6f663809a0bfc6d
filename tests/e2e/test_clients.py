"""The Socket.IO clients that are out there, against the real program, as many as there may be."""

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from backend.store.connection import Client
from tests.e2e.conftest import API_KEY
from tests.fakes.openai_endpoint import LEAK_MARKER, OpenAIEndpoint
from tests.fakes.programs import Program, RedisServer, program, run_client

pytestmark = pytest.mark.asyncio(loop_scope="module")

Answer = dict[str, Any]

# Words that nobody but the person who asked and the model may see.
PRIVATE = "zanzibar marmalade"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def impatient(
    clients: None, redis_of_stack: RedisServer, model: OpenAIEndpoint
) -> AsyncIterator[Program]:
    """A backend that gives a silent model up soon; its questions are in another database."""
    async with program(
        REDIS_URL=redis_of_stack.url.removesuffix("0") + "1",
        OPENAI_API_KEY=API_KEY,
        OPENAI_BASE_URL=model.url,
        MODEL_FIRST_PIECE_TIMEOUT_S="2",
        MODEL_IDLE_TIMEOUT_S="2",
    ) as started:
        await started.ready()
        yield started


async def ask(server: Program, *options: str) -> list[Answer]:
    """Ask with a real client; what became of each question."""
    return await run_client("ask.mjs", "--url", server.url, *options)


def numbered(question: str, number: int) -> str:
    """The question that the socket with this number asks."""
    return question.replace("{n}", str(number))


@pytest.mark.parametrize("transports", ["polling", "websocket", "default"])
@pytest.mark.parametrize("client", ["4.0", "current"])
async def test_every_client_gets_every_byte(
    server: Program, model: OpenAIEndpoint, client: str, transports: str
) -> None:
    """Sockets that ask at once get their own answers to the byte, and no piece of another's."""
    question = f"Why {{n}}, over {transports} with {client}? [[interval_ms=25]]"
    options = ("--client", client, "--transports", transports)
    answers = await ask(server, *options, "--count", "4", "--question", question)
    for number, answer in enumerate(answers):
        assert answer["text"] == model.answer_to(numbered(question, number))
        assert (answer["starts"], answer["ends"], answer["foreign"]) == (1, 1, 0)
        assert (answer["status"], answer["connects"], answer["notices"]) == ("done", 1, [])
    # An upgrade happens in the middle of the answer, and nobody can tell.
    over = "polling" if transports == "polling" else "websocket"
    assert {answer["transport"] for answer in answers} == {over}


@pytest.mark.parametrize("client", ["4.0", "current"])
async def test_a_question_is_acknowledged(server: Program, client: str) -> None:
    """A client that passes a callback learns that its question is accepted, and its id."""
    (answer,) = await ask(server, "--client", client)
    assert answer["ack"] == {
        "ok": True,
        "questionId": answer["questionId"],
        "status": "queued",
        "attempt": 0,
    }


@pytest.mark.parametrize("transports", ["polling", "websocket"])
async def test_a_refused_question_is_not_left_hanging(server: Program, transports: str) -> None:
    """A client that passes no callback and asks nonsense gets START, one readable line, END."""
    raw = json.dumps({"topic": 7})
    (answer,) = await ask(server, "--no-callback", "--transports", transports, "--raw", raw)
    assert answer["chunks"] == 3
    assert (answer["starts"], answer["notices"], answer["ends"]) == (
        1,
        [answer["error"]["message"]],
        1,
    )
    assert (answer["status"], answer["error"]["code"]) == ("failed", "invalid_request")


async def test_a_refusal_is_acknowledged(server: Program) -> None:
    """A client that passes a callback is told by it what was wrong."""
    (answer,) = await ask(server, "--raw", json.dumps({"topic": "Redis"}))
    assert answer["ack"] == {"ok": False, "error": answer["error"]}
    assert answer["error"]["code"] == "invalid_request"
    assert answer["error"]["retryable"] is False


class TestThePageOfTheTutorial:
    """The page of the original, which knows neither meta nor callbacks."""

    async def page(self, server: Program, question: str) -> dict[str, Any]:
        """What the page shows after the END."""
        options = ("--url", server.url, "--question", question)
        (page,) = await run_client("tutorial_page.mjs", *options)
        assert isinstance(page, dict)
        return page

    async def test_shows_the_answer(self, server: Program, model: OpenAIEndpoint) -> None:
        """The answer stands between its labels, and the spinner goes off."""
        page = await self.page(server, "What does the page show?")
        shown = re.fullmatch(r"START:(\S+);<br/>(.*)<br/>;END:\1", page["output"], re.DOTALL)
        assert shown
        assert shown[2] == model.answer_to("What does the page show?")
        assert page["spinner"] is False

    async def test_shows_that_the_model_failed(self, server: Program) -> None:
        """A line says in words what happened, and the spinner goes off."""
        page = await self.page(server, "What does the page show? [[fault=401]]")
        assert "provider does not accept this server's key" in page["output"]
        assert page["chunks"] == 3
        assert page["spinner"] is False

    async def test_shows_a_refusal(self, server: Program) -> None:
        """A question that is not taken ends in words, too, and the spinner goes off."""
        page = await self.page(server, " ")
        assert "topicQuestion must not be empty." in page["output"]
        assert page["chunks"] == 3
        assert page["spinner"] is False


async def test_a_hundred_people_ask_at_once(
    server: Program, model: OpenAIEndpoint, redis: Client
) -> None:
    """All of a hundred get their own answer to the byte, over ten connections to Redis at most."""
    connected = (await redis.info("stats"))["total_connections_received"]
    question = "Why, person {n}? [[interval_ms=50]]"
    answers = await ask(server, "--count", "100", "--question", question)
    assert [answer["error"] for answer in answers] == [None] * 100
    for number, answer in enumerate(answers):
        assert answer["text"] == model.answer_to(numbered(question, number))
        assert (answer["starts"], answer["ends"], answer["foreign"]) == (1, 1, 0)
    # Connections are kept, so those of the rush are still there; none came and went meanwhile.
    assert (await redis.info("clients"))["connected_clients"] <= 10
    assert (await redis.info("stats"))["total_connections_received"] - connected <= 10


async def assert_failed_well(server: Program, fault: str, code: str, pieces: int) -> None:
    """Ask a question whose model fails; check what the client and the log are told."""
    question = f"{PRIVATE}? [[fault={fault}]]" if fault else PRIVATE
    (answer,) = await ask(server, "--question", question, "--topic", PRIVATE)
    assert (answer["starts"], answer["ends"], answer["foreign"]) == (1, 1, 0)
    assert (answer["status"], answer["error"]["code"]) == ("failed", code)
    assert answer["notices"] == [answer["error"]["message"]]
    assert answer["notices"][0].endswith(".")
    assert len(re.findall(r"q[0-9a-f]{8}\.\d+", answer["text"])) == pieces
    await server.printed(f"question {answer['questionId']} failed ({code})")
    received = json.dumps(answer)
    for secret in (LEAK_MARKER, API_KEY):
        assert secret not in received
        assert secret not in server.log
    assert PRIVATE not in server.log
    assert "Traceback" not in server.log


@pytest.mark.parametrize(
    ("fault", "code", "pieces"),
    [
        ("401", "model_error", 0),
        ("429", "rate_limited", 0),
        ("429:insufficient_quota", "model_error", 0),
        ("500", "model_unavailable", 0),
        ("html", "model_error", 0),
        ("cut_after:5", "model_error", 5),
        ("clean_eof_after:5", "model_error", 5),
        ("error_event_after:5", "model_unavailable", 5),
        ("garbage_json_after:5", "model_error", 5),
    ],
)
async def test_a_failing_model_is_told(server: Program, fault: str, code: str, pieces: int) -> None:
    """However the model fails: what it said, one END, a code, a line to read, and no secret."""
    await assert_failed_well(server, fault, code, pieces)


@pytest.mark.parametrize(("fault", "pieces"), [("stall_before_first", 0), ("stall_after:5", 5)])
async def test_a_silent_model_is_given_up(impatient: Program, fault: str, pieces: int) -> None:
    """A model that says nothing, or nothing more, costs its timeout and no more."""
    await assert_failed_well(impatient, fault, "model_timeout", pieces)


async def test_an_absent_model_is_told(server: Program, model: OpenAIEndpoint) -> None:
    """Where nobody listens at the provider's address, the question ends, and the next works."""
    await model.close()
    try:
        await assert_failed_well(server, "", "model_unavailable", 0)
    finally:
        await model.__aenter__()
    (answer,) = await ask(server)
    assert answer["status"] == "done"
