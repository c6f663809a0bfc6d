"""Builds the chain that the settings name: OpenAI's client, or any provider of LangChain."""

import importlib.util
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

import httpx2  # what the OpenAI client is built on; it comes with that
import openai
from langchain_core.language_models import BaseChatModel
from langchain_core.outputs import ChatGenerationChunk
from langchain_openai import ChatOpenAI
from pydantic import ValidationError

from ..runtime.ticker import Ticker
from ..settings import NEEDS_PROVIDERS, Settings, SettingsError, parse_parameters
from .bounded_response import HEADERS, bound
from .chat_delta import THOUGHT
from .langchain_model import ModelChain, prompt_of
from .openai_client import EventClient

UNUSED_KEY = "none"  # LangChain wants one; the client that it is given has its own
CONNECTION_GRACE_S = 5.0  # beyond our own timeouts: this one only frees a connection

# What decides where, as whom and how often OpenAI is asked: each has a setting of its own.
OPENAI_ACCESS = frozenset({
    "api_key", "base_url", "max_retries", "openai_api_base", "openai_api_key",
    "openai_organization", "organization", "request_timeout", "timeout",
})  # fmt: skip

# Where the integrations of LangChain keep the client of their provider.
CLIENTS = ("root_async_client", "async_client", "_async_client")


class EventChatOpenAI(ChatOpenAI):
    """LangChain's model of OpenAI, with the thought that other servers send beside the text."""

    def _convert_chunk_to_generation_chunk(
        self,
        chunk: dict[str, Any],
        default_chunk_class: type,
        base_generation_info: dict[str, Any] | None,
    ) -> ChatGenerationChunk | None:
        # The seam that LangChain's own DeepSeek and xAI integrations use for the same field.
        generation = super()._convert_chunk_to_generation_chunk(
            chunk, default_chunk_class, base_generation_info
        )
        if generation and (choices := chunk.get("choices")):
            if thought := choices[0]["delta"].get(THOUGHT):
                generation.message.additional_kwargs[THOUGHT] = thought
        return generation


def load_chain(settings: Settings) -> ModelChain:
    """The chain that the settings name.

    Raises SettingsError where there is none to be had: a missing package, an unknown
    provider, a parameter of the wrong type.
    """
    parameters = parse_parameters(settings.model_parameters)
    if settings.model_provider == "openai":
        return _openai_chain(settings, parameters)
    model = _any_model(settings, parameters)
    return ModelChain(
        model,
        prompt_of(settings.system_prompt),
        setting=settings.model_setting,
        close=_closer(model),
    )


def _openai_chain(settings: Settings, parameters: dict[str, Any]) -> ModelChain:
    for name in OPENAI_ACCESS & parameters.keys():
        raise SettingsError(f"MODEL_PARAMETERS must not set {name}: it has a variable of its own")
    # Ours, because the one that LangChain makes is shared, and never closed. Its
    # aiohttp transport takes a third less time for each piece than the default one.
    http_client = openai.DefaultAioHttpClient(headers=HEADERS, event_hooks={"response": [bound]})
    client = _openai_client(settings, _take_headers(parameters), http_client)
    if settings.openai_reasoning_effort:
        parameters.setdefault("reasoning_effort", settings.openai_reasoning_effort)
    options: dict[str, Any] = {
        **_openai_options(parameters),
        "model": settings.model_name,
        "api_key": settings.openai_api_key or UNUSED_KEY,
        "async_client": client.chat.completions,
        "root_async_client": client,
        "stream_usage": True,
        # Off: it is built on asyncio.wait_for, which before Python 3.12
        # swallows a cancellation that meets a piece (seen with
        # langchain-openai 1.7.3): a stop would go unheard.
        "stream_chunk_timeout": None,
    }
    try:
        model = EventChatOpenAI(**options)
    except ValidationError as exc:
        raise _wrong_parameter(exc) from None
    return ModelChain(
        model,
        prompt_of(settings.system_prompt),
        setting=settings.model_setting,
        raises_when_cut=True,
        close=http_client.aclose,
    )


def _openai_client(
    settings: Settings, headers: dict[str, str], http_client: httpx2.AsyncClient
) -> EventClient:
    address = urlsplit(settings.openai_base_url)
    query = dict(parse_qsl(address.query))
    patience_s = max(settings.model_first_piece_timeout_s, settings.model_idle_timeout_s)
    return EventClient(
        api_key=settings.openai_api_key,
        organization=settings.openai_organization or None,
        base_url=address._replace(query="").geturl() or None,
        default_query=query or None,
        default_headers=headers or None,
        # The deployment addresses of Azure are the ones with a version in their query.
        api_key_header="api-version" in query,
        max_retries=settings.model_retries,
        timeout=patience_s + CONNECTION_GRACE_S,
        http_client=http_client,
        ticker=Ticker(settings.write_linger_ms / 1000),
    )


def _take_headers(parameters: dict[str, Any]) -> dict[str, str]:
    """Take the headers out of the parameters, by whichever name."""
    headers: dict[str, str] = {}
    for name in ("headers", "default_headers", "extra_headers"):
        given = parameters.pop(name, {})
        if not isinstance(given, dict) or not all(isinstance(v, str) for v in given.values()):
            raise SettingsError(f"MODEL_PARAMETERS is wrong: {name} has to be an object of texts")
        headers |= given
    return headers


def _openai_options(parameters: dict[str, Any]) -> dict[str, Any]:
    """The parameters that LangChain knows; the others go to the provider as they are."""
    fields = ChatOpenAI.model_fields
    known = fields.keys() | {field.alias for field in fields.values() if field.alias}
    options = {name: value for name, value in parameters.items() if name in known}
    if beyond := {name: value for name, value in parameters.items() if name not in known}:
        options["extra_body"] = {**(options.get("extra_body") or {}), **beyond}
    return options


def _wrong_parameter(exc: ValidationError) -> SettingsError:
    """Which parameter is wrong, and why, without its value."""
    told = (f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in exc.errors())
    return SettingsError(f"MODEL_PARAMETERS is wrong: {'; '.join(told)}")


def _any_model(settings: Settings, parameters: dict[str, Any]) -> BaseChatModel:
    """A model of any provider that LangChain's `init_chat_model` knows."""
    if importlib.util.find_spec("langchain") is None:
        raise SettingsError(NEEDS_PROVIDERS)
    from langchain.chat_models import init_chat_model

    provider = settings.model_provider
    try:
        return cast(
            BaseChatModel,
            init_chat_model(settings.model_name, model_provider=provider, **parameters),
        )
    except ImportError as exc:
        raise SettingsError(f"MODEL needs a package: {exc}") from exc
    except ValidationError as exc:
        raise _wrong_parameter(exc) from None
    except Exception as exc:  # a provider that is unknown, a key that is missing
        raise SettingsError(
            f"MODEL: the provider {provider} is unknown, or lacks its key ({type(exc).__name__})"
        ) from exc


def _closer(model: BaseChatModel) -> Callable[[], Awaitable[None]] | None:
    """What closes the connections of a model; its integration has no name for it in common."""
    for name in CLIENTS:
        client = getattr(model, name, None)
        for method in ("aclose", "close"):
            if inspect.iscoroutinefunction(close := getattr(client, method, None)):
                return cast(Callable[[], Awaitable[None]], close)
    return None
