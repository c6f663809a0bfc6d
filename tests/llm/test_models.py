"""The chain that the settings name: which provider is asked, as whom, and how."""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from backend.llm.base import Finish, Piece
from backend.llm.langchain_model import ModelChain
from backend.llm.models import load_chain
from backend.settings import Settings, SettingsError

KEY = "sk-a-key"


class Provider:
    """A provider that answers every request alike, and remembers what it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[web.Request] = []
        self.bodies: list[dict[str, Any]] = []

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the only request."""
        [request] = self.requests
        return {name.lower(): value for name, value in request.headers.items()}

    @property
    def body(self) -> dict[str, Any]:
        """The body of the only request."""
        [body] = self.bodies
        return body

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Say a word."""
        self.requests.append(request)
        self.bodies.append(await request.json())
        choices = [{"index": 0, "delta": {"content": "Sea."}, "finish_reason": "stop"}]
        event = json.dumps({"id": "c", "model": "m", "choices": choices})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(f"data: {event}\n\ndata: [DONE]\n\n".encode())
        return response


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """A provider that listens."""
    provider = Provider()
    app = web.Application()
    app.router.add_post("/{path:.*}", provider.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    provider.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield provider
    await runner.cleanup()


@asynccontextmanager
async def chain(**settings: Any) -> AsyncIterator[ModelChain]:
    """The chain of these settings; it is closed in the end."""
    chain = load_chain(Settings(**{"openai_api_key": KEY, **settings}))
    try:
        yield chain
    finally:
        await chain.aclose()


async def asked(**settings: Any) -> list[Piece]:
    """What a chain of these settings answers."""
    async with chain(**settings) as answering, aclosing(answering.stream("sea", "why?")) as pieces:
        return [piece async for piece in pieces]


async def test_a_question_is_asked_of_openais_protocol(provider: Provider) -> None:
    """Key, organization, model and counts of tokens: and nothing that a model may refuse."""
    base = f"{provider.url}/v1"
    pieces = await asked(openai_base_url=base, openai_model="m", openai_organization="org")
    assert pieces == ["Sea.", Finish("stop", None, "m")]
    assert provider.requests[0].path_qs == "/v1/chat/completions"
    assert provider.headers["authorization"] == f"Bearer {KEY}"
    assert provider.headers["openai-organization"] == "org"
    assert provider.body.keys() == {"model", "messages", "stream", "stream_options"}
    assert provider.body["model"] == "m"
    assert provider.body["stream_options"] == {"include_usage": True}


async def test_openai_is_a_provider_like_any_other(provider: Provider) -> None:
    """MODEL may name it, too."""
    await asked(openai_base_url=provider.url, model="openai:gpt-6.1-sol")
    assert provider.body["model"] == "gpt-6.1-sol"


async def test_a_server_of_ones_own_needs_no_key(provider: Provider) -> None:
    """Without a key none is sent, and no empty one either."""
    await asked(openai_base_url=provider.url, openai_api_key="")
    assert "authorization" not in provider.headers


async def test_a_deployment_of_azure(provider: Provider) -> None:
    """Its address has a version behind it, and its key goes into a header of its own."""
    base = f"{provider.url}/openai/deployments/luna?api-version=2026-06-01"
    await asked(openai_base_url=base)
    [request] = provider.requests
    assert request.path_qs == ("/openai/deployments/luna/chat/completions?api-version=2026-06-01")
    assert provider.headers["api-key"] == KEY
    assert "authorization" not in provider.headers


async def test_parameters_reach_the_provider(provider: Provider) -> None:
    """Those that LangChain knows, and those that only this provider does."""
    await asked(
        openai_base_url=provider.url,
        openai_reasoning_effort="none",
        model_parameters=json.dumps(
            {
                "temperature": 0.2,
                "max_tokens": 500,
                "top_k": 40,
                "extra_body": {"min_p": 0.1},
                "headers": {"X-Team": "sea"},
            }
        ),
    )
    body = provider.body
    assert (body["temperature"], body["reasoning_effort"]) == (0.2, "none")
    assert body.get("max_tokens", body.get("max_completion_tokens")) == 500
    assert (body["top_k"], body["min_p"]) == (40, 0.1)
    assert provider.headers["x-team"] == "sea"


@pytest.mark.parametrize(
    ("prompt", "system"),
    [
        ("Speak of {topic}, in {braces} {{}}.", ["Speak of sea, in {braces} {{}}."]),
        ("No topic.", ["No topic."]),
        ("", []),
    ],
)
async def test_the_system_prompt_is_a_setting(
    provider: Provider, prompt: str, system: list[str]
) -> None:
    """The topic is filled in, other braces are braces; empty, there is no such message."""
    await asked(openai_base_url=provider.url, system_prompt=prompt)
    *before, question = provider.body["messages"]
    assert before == [{"role": "system", "content": content} for content in system]
    assert question == {"role": "user", "content": "why?"}


@pytest.mark.parametrize(
    "parameters",
    [
        {"temperature": KEY},
        {"max_tokens": [KEY]},
        {"headers": {"X": 5}},
        {"headers": KEY},
        {"base_url": KEY},
        {"api_key": KEY},
        {"timeout": 5},
    ],
    ids=str,
)
def test_a_wrong_parameter_is_found_at_the_start(parameters: dict[str, Any]) -> None:
    """The error names the setting and the parameter, and never shows the value."""
    with pytest.raises(SettingsError) as refused:
        load_chain(Settings(openai_api_key=KEY, model_parameters=json.dumps(parameters)))
    message = str(refused.value)
    assert message.startswith("MODEL_PARAMETERS ")
    assert next(iter(parameters)) in message
    assert KEY not in message


# Other providers


def test_another_provider_needs_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without LangChain's package the error says what to install."""
    monkeypatch.setitem(sys.modules, "langchain", None)
    with pytest.raises(SettingsError, match=r"pip install .*\[providers\]"):
        load_chain(Settings(model="anthropic:claude-x"))


def test_a_provider_whose_package_is_missing() -> None:
    """The error says what to install."""
    with pytest.raises(SettingsError, match="pip install langchain-xai"):
        load_chain(Settings(model="xai:grok-x"))


def test_a_provider_that_nobody_knows() -> None:
    """The error names the setting and the provider."""
    with pytest.raises(SettingsError, match="MODEL: the provider nobody is unknown"):
        load_chain(Settings(model="nobody:x"))


async def test_a_model_of_another_provider() -> None:
    """It is built by LangChain's own function, with the parameters, and can be closed."""
    from langchain_anthropic import ChatAnthropic

    parameters = json.dumps({"temperature": 0.5, "api_key": KEY})
    async with chain(model="anthropic:claude-x", model_parameters=parameters) as answering:
        model = answering._model
    assert isinstance(model, ChatAnthropic)
    assert (model.model, model.temperature) == ("claude-x", 0.5)
    assert model.anthropic_api_key.get_secret_value() == KEY


def test_a_wrong_parameter_of_another_provider() -> None:
    """It is found at the start as well."""
    with pytest.raises(SettingsError, match="MODEL_PARAMETERS is wrong: temperature"):
        load_chain(Settings(model="anthropic:x", model_parameters='{"temperature": "hot"}'))
