"""The whole backend with models of today, whose provider another team wrote.

One provider, three programs: a model over Chat Completions, one over Responses, and one of
another provider, by its LangChain integration.
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from backend.llm.langchain_model import BROKE_OFF, CALLS_TOOLS
from tests.e2e.conftest import API_KEY
from tests.fakes.aimock import FIXTURES, aimock
from tests.fakes.client import Answer, Client
from tests.fakes.programs import Program, RedisServer, program

pytestmark = pytest.mark.asyncio(loop_scope="module")

SAYS: Mapping[str, Any] = {
    fixture["match"]["userMessage"]: fixture["response"]
    for fixture in json.loads(FIXTURES.read_text())["fixtures"]
}

ALL = "Why is the sea salty?"
NAME = "What is it called at its provider?"
LONG = "Tell me everything."
THINKS = "How many legs have nine spiders?"
CALLS = "What time is it?"
SPEAKS_AND_CALLS = "What day is it?"
BREAKS = "Which line breaks?"

MODELS = {"chat": "gpt-6-luna", "responses": "gpt-5.6-sol", "anthropic": "claude-opus-4-7"}
ANY = pytest.mark.parametrize("name", MODELS)


def settings_of(name: str, mock: str) -> dict[str, str]:
    """What names a model, as people write it into their .env."""
    openai = {"OPENAI_API_KEY": API_KEY, "OPENAI_BASE_URL": f"{mock}/v1"}
    match name:
        case "chat":
            return {**openai, "OPENAI_MODEL": MODELS[name]}
        case "responses":
            parameters: dict[str, Any] = {"reasoning": {"effort": "low", "summary": "auto"}}
            more = {"OPENAI_MODEL": MODELS[name], "MODEL_PARAMETERS": json.dumps(parameters)}
            return {**openai, **more}
        case _:
            parameters = {"base_url": mock, "max_retries": 0, "thinking": {"type": "adaptive"}}
            return {
                "ANTHROPIC_API_KEY": API_KEY,
                "MODEL": f"anthropic:{MODELS[name]}",
                "MODEL_PARAMETERS": json.dumps(parameters),
            }


@dataclass(frozen=True, slots=True)
class Site:
    """A program with one model, and somebody who is connected to it."""

    program: Program
    person: Client
    http: aiohttp.ClientSession

    async def answer(self, question: str) -> Answer:
        """Ask, and read to the END; nothing came twice, out of order or not at all."""
        answer = await (await self.person.ask(question)).ended()
        assert (answer.starts, answer.ends) == (1, 1)
        assert (answer.holes, answer.doubled, answer.stale) == (0, 0, 0)
        return answer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sites(redis_of_stack: RedisServer) -> AsyncIterator[dict[str, Site]]:
    """The programs, each in a database of its own of one Redis."""
    async with AsyncExitStack() as exits:
        mock = await exits.enter_async_context(aimock())
        http = await exits.enter_async_context(aiohttp.ClientSession())
        started: dict[str, Program] = {}
        for database, name in enumerate(MODELS):
            started[name] = await exits.enter_async_context(
                program(
                    REDIS_URL=f"{redis_of_stack.url.removesuffix('/0')}/{database}",
                    MODEL_RETRIES="0",
                    SHUTDOWN_GRACE_S="0",
                    **settings_of(name, mock),
                )
            )
        sites: dict[str, Site] = {}
        for name, each in started.items():
            await each.ready()
            person = await exits.enter_async_context(Client(http, each.url))
            sites[name] = Site(each, person, http)
        yield sites


# Answers


@ANY
async def test_a_whole_answer(sites: dict[str, Site], name: str) -> None:
    """Its text is the provider's, to the letter, and the END says why and what it took."""
    answer = await sites[name].answer(ALL)
    assert (answer.status, answer.text) == ("done", SAYS[ALL]["content"])
    end = answer.metas[-1]
    assert end["finishReason"] == "stop"
    told = {"inputTokens": 21, "outputTokens": 34}
    if name == "anthropic":
        del told["inputTokens"]  # LangChain reads it from an event that need not tell it
    assert end["usage"] == told


@ANY
async def test_the_model_by_the_name_that_its_provider_tells(
    sites: dict[str, Site], name: str
) -> None:
    """The END names the model that has answered, not the one that was asked for."""
    answer = await sites[name].answer(NAME)
    assert answer.metas[-1]["model"] == SAYS[NAME]["model"]


@pytest.mark.parametrize("name", ["chat", "anthropic"])
async def test_an_answer_that_is_too_long(sites: dict[str, Site], name: str) -> None:
    """An answer that reached the model's limit is one, and says so."""
    answer = await sites[name].answer(LONG)
    assert (answer.status, answer.text) == ("done", SAYS[LONG]["content"])
    assert answer.metas[-1]["finishReason"] == "length"


async def test_a_response_that_is_incomplete(sites: dict[str, Site]) -> None:
    """The same of a model over Responses, which tells it by a status, is no failure either."""
    answer = await sites["responses"].answer(LONG)
    assert (answer.status, answer.text) == ("done", SAYS[LONG]["content"])
    assert answer.metas[-1]["finishReason"] in ("length", "incomplete")  # it does not say why


@ANY
async def test_thought_comes_before_the_text(sites: dict[str, Site], name: str) -> None:
    """What the model thinks comes in chunks without text, and the answer is without it."""
    answer = await sites[name].answer(THINKS)
    assert (answer.status, answer.text) == ("done", SAYS[THINKS]["content"])
    assert answer.reasoning == SAYS[THINKS]["reasoning"]
    are_thought = ["reasoning" in meta for meta in answer.metas[1:-1]]
    assert are_thought == sorted(are_thought, reverse=True)


@ANY
async def test_thought_is_there_for_whoever_comes_late(sites: dict[str, Site], name: str) -> None:
    """An answer that is read again has the same thoughts and the same text."""
    answer = await sites[name].answer(THINKS)
    again = await (await sites[name].person.resume(answer.question_id)).ended()
    assert (again.text, again.reasoning) == (answer.text, answer.reasoning)


@ANY
async def test_thought_stays_out_of_answers_without_stream(
    sites: dict[str, Site], name: str
) -> None:
    """Who asks over HTTP for a whole answer gets its text alone."""
    site = sites[name]
    asked = {"topic": "animals", "topicQuestion": THINKS}
    url = f"{site.program.url}/askQuestionWithoutStream"
    async with site.http.post(url, json=asked) as response:
        assert response.status == 200
        assert (await response.json())["output"] == SAYS[THINKS]["content"]


# Failures


@ANY
async def test_a_call_of_a_tool_that_nobody_gave_it(sites: dict[str, Site], name: str) -> None:
    """An answer without any text is none: it fails, and says what the model wanted."""
    answer = await sites[name].answer(CALLS)
    assert (answer.status, answer.text) == ("failed", "")
    assert answer.error
    assert (answer.error["code"], answer.error["message"]) == ("model_error", CALLS_TOOLS)


@ANY
async def test_a_call_of_a_tool_behind_text(sites: dict[str, Site], name: str) -> None:
    """The text is an answer, and the END says that there was a call."""
    answer = await sites[name].answer(SPEAKS_AND_CALLS)
    assert (answer.status, answer.text) == ("done", SAYS[SPEAKS_AND_CALLS]["content"])
    assert answer.metas[-1]["finishReason"] == "tool_calls"


@ANY
async def test_a_connection_that_breaks(sites: dict[str, Site], name: str) -> None:
    """The text so far stays; the END says that the answer broke off, and that asking may help."""
    answer = await sites[name].answer(BREAKS)
    assert answer.status == "failed"
    assert answer.error == {"code": "model_error", "message": BROKE_OFF, "retryable": True}
    assert answer.text
    assert SAYS[BREAKS]["content"].startswith(answer.text)
    assert answer.text != SAYS[BREAKS]["content"]


@ANY
@pytest.mark.parametrize(
    ("question", "code", "retryable"),
    [
        ("Do you know my key?", "model_error", False),
        ("Are you still there?", "model_error", False),
        ("Am I too fast?", "rate_limited", True),
        ("Are you well?", "model_unavailable", True),
        ("Have you time for me?", "model_unavailable", True),
    ],
)
async def test_an_error_instead_of_an_answer(
    sites: dict[str, Site], name: str, question: str, code: str, retryable: bool
) -> None:
    """It ends as failed, with a code, and with a sentence that the provider did not write."""
    answer = await sites[name].answer(question)
    assert (answer.status, answer.text) == ("failed", "")
    assert answer.error
    assert (answer.error["code"], answer.error["retryable"]) == (code, retryable)
    assert "LEAK" not in str(answer.error)


@ANY
async def test_a_model_that_is_retired(sites: dict[str, Site], name: str) -> None:
    """The asker is told which model is gone, and the log which setting names it."""
    answer = await sites[name].answer("Are you still there?")
    assert answer.error
    assert MODELS[name] in answer.error["message"]
    setting = "MODEL" if name == "anthropic" else "OPENAI_MODEL"
    await sites[name].program.printed(f"model {MODELS[name]} of {setting}")


@ANY
async def test_how_long_to_wait_is_passed_on(sites: dict[str, Site], name: str) -> None:
    """A provider that names a time is left alone for so long."""
    answer = await sites[name].answer("Am I too fast?")
    assert answer.error
    assert answer.error["retryAfterS"] == SAYS["Am I too fast?"]["retryAfter"]


@ANY
async def test_the_log_has_nobodys_words(sites: dict[str, Site], name: str) -> None:
    """Neither keys nor thoughts, nor what a provider says of an error, are in the log."""
    site = sites[name]
    for question in (THINKS, "Do you know my key?", "Are you well?"):
        answer = await site.answer(question)
        await site.program.printed(f"question {answer.question_id} {answer.status}")
    for secret in (API_KEY, "LEAK", SAYS[THINKS]["reasoning"][:9], SAYS[THINKS]["content"][:9]):
        assert secret not in site.program.log


async def test_a_model_that_its_provider_does_not_list(sites: dict[str, Site]) -> None:
    """The log warns from the start on of a model that is not among those of its provider."""
    await sites["chat"].program.printed("model gpt-6-luna of OPENAI_MODEL is not known")
