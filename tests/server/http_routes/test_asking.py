"""POST /askQuestionWithoutStream: a question is answered in one piece, or refused."""

import asyncio
import json
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from backend.app import create_app
from backend.protocol.errors import (
    ModelError,
    ModelFailure,
    ModelRateLimited,
    ModelTimeout,
    ModelUnavailable,
)
from backend.server.http_routes import MAX_BODY_BYTES
from backend.settings import Settings
from backend.store.connection import connect
from tests.fakes.programs import free_port
from tests.hostile.wire import wired

from .http_client import ASK, QUESTION, Client, FakeChain, post, ready


async def test_answers_in_one_piece(client: Client, chain: FakeChain) -> None:
    """A question gets the whole text, without labels, once the model has ended."""
    status, body = await post(client, QUESTION)
    assert (status, body) == (200, {"output": "".join(chain.pieces)})
    assert chain.asked == [("Redis", "What is a stream?")]


async def test_answers_many_at_once(client: Client, chain: FakeChain) -> None:
    """Questions that come in together are all answered."""
    answers = await asyncio.gather(*(post(client, QUESTION) for _ in range(20)))
    assert answers == [(200, {"output": "".join(chain.pieces)})] * 20


async def test_one_id_is_one_question(client: Client, chain: FakeChain) -> None:
    """A POST that is sent again with the same questionId is answered from the stream."""
    again = {**QUESTION, "questionId": "00000000-0000-4000-8000-000000000001"}
    assert await post(client, again) == await post(client, again)
    assert len(chain.asked) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe\xfd",
        b"[" * 50_000,
        None,
        5,
        "Redis",
        ["Redis", "What is a stream?"],
        {},
        {"topic": "Redis"},
        {"topicQuestion": "What is a stream?"},
        {**QUESTION, "topic": 5},
        {**QUESTION, "topicQuestion": None},
        {**QUESTION, "topicQuestion": ["What?"]},
        {**QUESTION, "topic": ""},
        {**QUESTION, "topicQuestion": " \n"},
        {**QUESTION, "topicQuestion": "x" * 8_001},
        {**QUESTION, "topic": "x" * 201},
        {**QUESTION, "topicQuestion": "\0"},
        {**QUESTION, "topicQuestion": "\ud800"},
        {**QUESTION, "questionId": "1"},
        {**QUESTION, "questionId": 1},
    ],
    ids=lambda body: repr(body)[:40],
)
async def test_refuses_what_is_no_question(client: Client, chain: FakeChain, body: Any) -> None:
    """Anything but two texts in an object is 400, with an empty output and the reason."""
    status, answer = await post(client, body)
    assert status == 400
    assert answer["output"] == ""
    assert answer["error"]["code"] == "invalid_request"
    assert answer["error"]["retryable"] is False
    assert chain.asked == []


async def test_a_body_of_100_kb_is_read(client: Client) -> None:
    """Express reads bodies up to 102,400 bytes; so do we, and find the question too long."""
    status, answer = await post(client, question_of(MAX_BODY_BYTES))
    assert status == 400
    assert "too long" in answer["error"]["message"]


async def test_a_body_beyond_100_kb_is_refused(client: Client) -> None:
    """One byte more is 413."""
    status, answer = await post(client, question_of(MAX_BODY_BYTES + 1))
    assert status == 413
    assert answer["error"]["code"] == "invalid_request"


def question_of(size: int) -> bytes:
    """A body of so many bytes."""
    head, tail = b'{"topic":"Redis","topicQuestion":"', b'"}'
    return head + b"x" * (size - len(head) - len(tail)) + tail


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (ModelRateLimited(), "rate_limited"),
        (ModelUnavailable(), "model_unavailable"),
        (ModelTimeout(), "model_timeout"),
        (ModelError(), "model_error"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_failing_model_is_500(
    client: Client, chain: FakeChain, failure: ModelFailure, code: str
) -> None:
    """However the model fails, it is a 500 that says how, and no half answer is sent.

    Pages that know only `output`, as the original's, show the same in one line.
    """
    chain.failure = failure
    status, body = await post(client, QUESTION)
    assert (status, body) == (500, {"output": str(failure), "error": failure.payload})
    assert failure.code == code


async def test_says_so_when_redis_is_away(chain: FakeChain) -> None:
    """A question that cannot be stored is 500, in bounded time."""
    settings = Settings(redis_url=f"redis://127.0.0.1:{free_port()}/0")
    app = create_app(settings, connect=connect, load_chain=chain.load)
    async with asyncio.timeout(5), TestClient(TestServer(app)) as client:
        status, body = await post(client, QUESTION)
    assert status == 500
    assert body["error"]["code"] == "storage_unavailable"


@pytest.mark.parametrize("fault", ["slow", "cut off", "not gzip"])
async def test_a_body_that_does_not_come_in(
    client: Client, fault: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A body that is slow or broken is the client's failure: refused in time, and no error."""
    monkeypatch.setattr("backend.server.http_routes.BODY_TIMEOUT_S", 0.05)
    headers = "Content-Encoding: gzip\r\n" if fault == "not gzip" else ""
    async with wired(client.port or 0) as wire:
        request = f"POST {ASK} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: 4\r\n\r\n"
        await wire.send(request.encode() + (b"abcd" if fault == "not gzip" else b"{"))
        if fault != "cut off":
            assert b" 400 " in await wire.head()
    await ready(client)
    assert not [record for record in caplog.records if record.name.startswith("backend")]


async def test_a_fault_of_ours_is_500(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that nobody foresaw becomes an answer that tells nothing of it."""

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("somebody's words")

    monkeypatch.setattr("backend.protocol.requests.parse_ask", broken)
    status, body = await post(client, QUESTION)
    assert status == 500
    assert body["error"]["code"] == "internal_error"
    assert "words" not in json.dumps(body)
