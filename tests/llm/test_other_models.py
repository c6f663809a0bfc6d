"""Models of other providers than ours, in front of providers that another team wrote.

What comes back is decided by LangChain's integrations and by aimock; ours is the chain.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from langchain.chat_models import init_chat_model
from langchain_core.language_models import BaseChatModel

from backend.llm.base import Finish, Piece, Reasoning
from backend.llm.langchain_model import BROKE_OFF, CALLS_TOOLS, ModelChain
from backend.protocol.entries import Usage
from backend.protocol.errors import (
    EmptyAnswer,
    KeyRefused,
    ModelError,
    ModelFailure,
    ModelOverloaded,
    ModelRateLimited,
    ModelUnavailable,
    ModelUnknown,
)
from tests.fakes.aimock import FIXTURES, aimock
from tests.fakes.editing_relay import relaying

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # Google's client does what aiohttp warns of.
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
    # LangChain takes its answer for one that is read without waiting.
    pytest.mark.filterwarnings("ignore:coroutine 'ClientResponse.json':RuntimeWarning"),
]

SAYS: Mapping[str, Any] = {
    fixture["match"]["userMessage"]: fixture["response"]
    for fixture in json.loads(FIXTURES.read_text())["fixtures"]
}

ALL = "Why is the sea salty?"
TOLD = Usage(21, 34)  # of that one
NAME = "What is it called at its provider?"
THINKS = "How many legs have nine spiders?"
CALLS = "What time is it?"
SPEAKS_AND_CALLS = "What day is it?"
BREAKS = "Which line breaks?"


@dataclass(frozen=True, slots=True)
class Provider:
    """A model of LangChain, and what its provider tells of an answer."""

    integration: str
    model: str
    parameters: Mapping[str, Any]
    path: str = ""  # below the address of the mock
    usage: Usage = TOLD
    told_name: str | None = "the-model-of-2026-11"


KEY = {"api_key": "key", "max_retries": 0}  # Gemini's retries count the first attempt, too
PROVIDERS = {
    "openai": Provider("openai", "gpt-6-luna", {**KEY, "stream_usage": True}, path="/v1"),
    "responses": Provider(
        "openai", "gpt-5.6-sol", {**KEY, "reasoning": {"summary": "auto"}}, path="/v1"
    ),
    "anthropic": Provider(
        "anthropic",
        "claude-opus-4-7",
        {**KEY, "thinking": {"type": "adaptive"}},
        usage=Usage(None, 34),  # LangChain reads the input's from an event that need not tell it
    ),
    "ollama": Provider("ollama", "qwen3", {"reasoning": True}, usage=Usage(), told_name="qwen3"),
    "gemini": Provider(
        "google_genai",
        "gemini-2.5-flash",
        # The only version of the protocol that the mock knows.
        {**KEY, "max_retries": 1, "include_thoughts": True, "api_version": "v1beta"},
        told_name=None,
    ),
}
ANY = pytest.mark.parametrize("name", PROVIDERS)


class Chains:
    """The chains in front of the mock, each made once, or in front of a relay to it."""

    def __init__(self, mock: str, relay: str) -> None:
        self._mock = mock
        self._relay = relay
        self._made: dict[tuple[str, str], ModelChain] = {}

    def chain(self, name: str, edit: str = "") -> ModelChain:
        """The chain with a model of this provider, whose answers are edited."""
        provider = PROVIDERS[name]
        base_url = (f"{self._relay}/{edit}" if edit else self._mock) + provider.path
        if (name, edit) not in self._made:
            parameters = {"base_url": base_url, **provider.parameters}
            model: BaseChatModel = init_chat_model(
                provider.model, model_provider=provider.integration, **parameters
            )
            self._made[name, edit] = ModelChain(model, close=_closes(model))
        return self._made[name, edit]

    async def aclose(self) -> None:
        """Close the connections of all."""
        for chain in self._made.values():
            await chain.aclose()


def _closes(model: Any) -> Callable[[], Awaitable[None]]:
    """What closes the connections of a model: each integration keeps its client elsewhere."""
    for name in ("root_async_client", "_async_client"):
        if client := getattr(model, name, None):
            return client.close  # type: ignore[no-any-return]
    return model.async_client.aclose  # type: ignore[no-any-return]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chains() -> AsyncIterator[Chains]:
    """Chains with the models of several providers; all of these are one process of the mock."""
    async with aimock() as mock, relaying(mock) as relay:
        chains = Chains(mock, relay)
        yield chains
        await chains.aclose()


async def said(chain: ModelChain, question: str) -> tuple[str, list[Piece], Finish]:
    """The text of an answer, all its pieces but the last, and that."""
    async with aclosing(chain.stream("the world", question)) as stream:
        *pieces, last = [piece async for piece in stream]
    assert isinstance(last, Finish)
    return text_of(pieces), pieces, last


async def failure(chain: ModelChain, question: str) -> tuple[str, ModelFailure]:
    """The text before the chain failed, and how it failed."""
    pieces: list[Piece] = []

    async def read() -> None:
        async with aclosing(chain.stream("the world", question)) as stream:
            async for piece in stream:
                assert not isinstance(piece, Finish), "it did not fail"
                pieces.append(piece)

    with pytest.raises(ModelFailure) as failed:
        await read()
    return text_of(pieces), failed.value


def text_of(pieces: list[Piece]) -> str:
    """What is no thought."""
    return "".join(piece for piece in pieces if isinstance(piece, str))


# Whole answers


@ANY
async def test_a_whole_answer(chains: Chains, name: str) -> None:
    """Its text is the provider's, to the letter; then come the reason and what it took."""
    text, pieces, finish = await said(chains.chain(name), ALL)
    assert text == SAYS[ALL]["content"]
    assert len(pieces) > 1
    assert all(pieces)
    assert finish.reason == "stop"
    assert finish.usage == (PROVIDERS[name].usage or None)


@ANY
async def test_the_model_by_the_name_that_its_provider_tells(chains: Chains, name: str) -> None:
    """The name is the provider's, not the one that was asked for; unknown, it is absent."""
    _, _, finish = await said(chains.chain(name), NAME)
    assert finish.model == PROVIDERS[name].told_name


@pytest.mark.parametrize("name", ["openai", "anthropic", "gemini"])
@pytest.mark.parametrize(
    ("question", "reason"),
    [("Tell me everything.", "length"), ("Tell me what is forbidden.", "content_filter")],
)
async def test_an_answer_that_was_ended_early(
    chains: Chains, name: str, question: str, reason: str
) -> None:
    """Too long or filtered: the text so far is an answer, with the reason in common words."""
    text, _, finish = await said(chains.chain(name), question)
    assert (text, finish.reason) == (SAYS[question]["content"], reason)


async def test_a_response_that_is_incomplete(chains: Chains) -> None:
    """Responses tells an end like this by a status: it is no failure."""
    question = "Tell me everything."
    text, _, finish = await said(chains.chain("responses"), question)
    assert text == SAYS[question]["content"]
    assert finish.reason in ("length", "incomplete")  # the mock does not say why


async def test_a_response_that_failed(chains: Chains) -> None:
    """A status that means failure is one, however regularly the stream has ended."""
    question = "Tell me what is forbidden."
    text, failed = await failure(chains.chain("responses"), question)
    assert text == SAYS[question]["content"]
    assert (type(failed), str(failed)) == (ModelError, BROKE_OFF)


async def test_a_refusal(chains: Chains) -> None:
    """A model that refuses says so in its text, and the reason says it, too."""
    question = "Will you do it?"
    text, _, finish = await said(chains.chain("anthropic"), question)
    assert (text, finish.reason) == (SAYS[question]["content"], "refusal")


# Thought


@pytest.mark.parametrize(
    ("name", "edit"),
    [("responses", ""), ("anthropic", ""), ("ollama", "ollama"), ("gemini", "")],
)
async def test_thought_comes_before_the_text(chains: Chains, name: str, edit: str) -> None:
    """What the model thinks is whole, comes piece by piece, and is no part of the text."""
    text, pieces, finish = await said(chains.chain(name, edit), THINKS)
    assert (text, finish.reason) == (SAYS[THINKS]["content"], "stop")
    thoughts = [piece.text for piece in pieces if isinstance(piece, Reasoning)]
    assert "".join(thoughts) == SAYS[THINKS]["reasoning"]
    assert len(thoughts) > 1
    kinds = [type(piece) for piece in pieces if piece not in (Reasoning(), "")]
    assert kinds == sorted(kinds, key=[Reasoning, str].index)


# Tools


@ANY
async def test_a_call_of_a_tool_that_nobody_gave_it(chains: Chains, name: str) -> None:
    """Without any text that is a failure, which says what was wanted."""
    text, failed = await failure(chains.chain(name), CALLS)
    assert text == ""
    assert (type(failed), str(failed)) == (EmptyAnswer, CALLS_TOOLS)


@ANY
async def test_a_call_of_a_tool_behind_text(chains: Chains, name: str) -> None:
    """The text is an answer, and the reason says that there was a call."""
    text, _, finish = await said(chains.chain(name), SPEAKS_AND_CALLS)
    assert text == SAYS[SPEAKS_AND_CALLS]["content"]
    assert finish.reason == "tool_calls"


# Failures


@ANY
async def test_a_connection_that_breaks(chains: Chains, name: str) -> None:
    """The text so far is given; then the answer has broken off."""
    text, failed = await failure(chains.chain(name), BREAKS)
    assert text
    assert SAYS[BREAKS]["content"].startswith(text)
    assert text != SAYS[BREAKS]["content"]
    assert failed.payload == {"code": "model_error", "message": BROKE_OFF, "retryable": True}


@ANY
async def test_an_answer_that_just_stops(chains: Chains, name: str) -> None:
    """Half the events and then a regular end look like success to the library; it is none."""
    text, failed = await failure(chains.chain(name, "half"), ALL)
    assert text
    assert SAYS[ALL]["content"].startswith(text)
    assert text != SAYS[ALL]["content"]
    assert failed.payload == {"code": "model_error", "message": BROKE_OFF, "retryable": True}


@ANY
@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("Do you know my key?", KeyRefused),
        ("Are you still there?", ModelUnknown),
        ("Am I too fast?", ModelRateLimited),
        ("Are you well?", ModelUnavailable),
        ("Have you time for me?", ModelOverloaded),
    ],
)
async def test_an_error_instead_of_an_answer(
    chains: Chains, name: str, question: str, kind: type[ModelFailure]
) -> None:
    """Each integration has its own exceptions; they mean the same, and their words stay out."""
    text, failed = await failure(chains.chain(name), question)
    assert text == ""
    assert type(failed) is kind
    assert "LEAK" not in f"{failed.payload} {failed.detail}"


@ANY
async def test_the_log_is_told_which_model_is_unknown(chains: Chains, name: str) -> None:
    """The asker and the log learn the name of the model, and the log the status."""
    _, failed = await failure(chains.chain(name), "Are you still there?")
    assert PROVIDERS[name].model in str(failed)
    assert PROVIDERS[name].model in failed.detail
    assert "404" in failed.detail


@ANY
async def test_how_long_to_wait_is_passed_on(chains: Chains, name: str) -> None:
    """A provider that names a time is left alone for so long."""
    _, failed = await failure(chains.chain(name), "Am I too fast?")
    assert failed.payload.get("retryAfterS") == 7
