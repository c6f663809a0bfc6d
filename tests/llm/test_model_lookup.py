"""The look at the provider's models, at the start: it warns, and never more than that."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from backend.llm import model_lookup
from backend.llm.model_lookup import warn_of_model
from backend.settings import Settings
from tests.fakes.programs import free_port

KEY = "sk-a-key-that-nobody-reads"
Handler = Callable[[web.Request], web.StreamResponse]


@asynccontextmanager
async def provider(model: Handler | None, models: Handler | None = None) -> AsyncIterator[str]:
    """A provider with a route for one model, and perhaps one for all; its address.

    Without an answer to give, the first keeps silent.
    """

    async def one(request: web.Request) -> web.StreamResponse:
        if model is None:
            await asyncio.Event().wait()
        assert model
        return model(request)

    async def everything(request: web.Request) -> web.StreamResponse:
        if models is None:
            raise web.HTTPNotFound
        return models(request)

    app = web.Application()
    app.router.add_get("/v1/models/{name:.+}", one)
    app.router.add_get("/v1/models", everything)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


def answer(body: Any, status: int = 200) -> Handler:
    """A route that always answers this."""
    return lambda request: web.json_response(body, status=status)


async def warnings(caplog: pytest.LogCaptureFixture, url: str, **settings: Any) -> list[str]:
    """What the log says after a look."""
    caplog.set_level(logging.WARNING)
    given = {"openai_api_key": KEY, "openai_model": "gpt-4", **settings}
    await warn_of_model(Settings(openai_base_url=url, **given))
    assert KEY not in caplog.text
    return [record.getMessage() for record in caplog.records]


UNKNOWN = {"error": {"message": "no such model", "code": "model_not_found"}}
NOT_FOUND = {"detail": "Not Found"}


async def test_a_model_that_is_there_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The usual case costs one request, with the key, and no line."""
    seen: list[web.Request] = []

    def model(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        return web.json_response({"id": "gpt-4", "shutdown_date": None})

    async with provider(model) as url:
        assert await warnings(caplog, url) == []
    [request] = seen
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert request.match_info["name"] == "gpt-4"


async def test_a_model_that_will_be_shut_down(caplog: pytest.LogCaptureFixture) -> None:
    """The date and the setting are named."""
    async with provider(answer({"id": "gpt-4", "shutdown_date": "2026-12-11"})) as url:
        assert await warnings(caplog, url) == [
            "model gpt-4 of OPENAI_MODEL is shut down by its provider on 2026-12-11"
        ]


@pytest.mark.parametrize("date", ["soon, or so", {"a": 1}, "2" * 99, ["2026"], 0, True])
async def test_what_is_no_date_is_not_logged(caplog: pytest.LogCaptureFixture, date: Any) -> None:
    """A provider may write anything there."""
    async with provider(answer({"id": "gpt-4", "shutdown_date": date})) as url:
        assert await warnings(caplog, url) == []


@pytest.mark.parametrize(
    ("model", "models"),
    [
        (answer(UNKNOWN, 404), None),
        (answer(NOT_FOUND, 404), answer({"data": [{"id": "llama"}, "odd", {}]})),
    ],
    ids=["it says so", "it lists others"],
)
async def test_a_model_that_is_unknown(
    caplog: pytest.LogCaptureFixture, model: Handler, models: Handler | None
) -> None:
    """A provider that says so, or that lists its models without this one."""
    async with provider(model, models) as url:
        assert await warnings(caplog, url) == [
            "model gpt-4 of OPENAI_MODEL is not known to its provider"
        ]


@pytest.mark.parametrize(
    ("model", "models"),
    [
        (answer(NOT_FOUND, 404), None),
        (answer(NOT_FOUND, 404), answer({"data": [{"id": "gpt-4"}]})),
        (answer(NOT_FOUND, 404), answer({"data": []})),
        (answer(NOT_FOUND, 404), answer(["odd"])),
        (answer(UNKNOWN, 401), None),
        (answer(UNKNOWN, 500), None),
        (answer("odd"), None),
        (lambda request: web.Response(text="<html>", content_type="text/html"), None),
        (lambda request: web.Response(body=b"\xff\xfe", status=404), None),
        (lambda request: web.Response(body=b"[" * 100_000), None),
        (lambda request: web.Response(status=302, headers={"Location": "http://x.example"}), None),
    ],
)
async def test_a_provider_without_the_route_is_left_in_peace(
    caplog: pytest.LogCaptureFixture, model: Handler, models: Handler | None
) -> None:
    """Whatever else it answers, there is nothing to say."""
    async with provider(model, models) as url:
        assert await warnings(caplog, url) == []


async def test_a_provider_that_is_away_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody listens there: questions will tell."""
    assert await warnings(caplog, f"http://127.0.0.1:{free_port()}/v1") == []


async def test_a_provider_that_keeps_silent_is_given_up(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look is bounded in time."""
    monkeypatch.setattr(model_lookup, "LOOKUP_TIMEOUT_S", 0.05)
    async with provider(None) as url:
        assert await warnings(caplog, url) == []


async def test_a_list_without_end_is_not_read(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look is bounded in size."""
    monkeypatch.setattr(model_lookup, "MAX_BODY_BYTES", 1_000)
    body = {"data": [{"id": f"m{number}"} for number in range(1_000)]}
    async with provider(answer(NOT_FOUND, 404), answer(body)) as url:
        assert await warnings(caplog, url) == []


async def test_another_provider_is_not_asked(caplog: pytest.LogCaptureFixture) -> None:
    """Providers other than OpenAI have other routes."""
    async with provider(answer(UNKNOWN, 404)) as url:
        assert await warnings(caplog, url, model="anthropic:claude-x") == []


async def test_a_name_and_a_query_stay_what_they_are(caplog: pytest.LogCaptureFixture) -> None:
    """A name with slashes is one name; the query of the address goes along, and no empty key."""
    seen: list[web.Request] = []

    def model(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        return web.json_response({})

    async with provider(model) as url:
        await warnings(caplog, f"{url}/?v=1", openai_model="org/model:8b", openai_api_key="")
    [request] = seen
    assert (request.match_info["name"], request.query_string) == ("org/model:8b", "v=1")
    assert "Authorization" not in request.headers
