"""The HTTP side of a server, with an embedded Redis and a model that says what a test wants."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from backend.app import create_app, drain
from backend.llm.base import Chain, Finish
from backend.protocol.errors import (
    ModelError,
    ModelFailure,
    ModelRateLimited,
    ModelTimeout,
    ModelUnavailable,
)
from backend.server import static_page
from backend.server.http_routes import MAX_BODY_BYTES
from backend.settings import Settings
from backend.store.connection import connect
from backend.store.embedded_redis import embedded_redis
from tests.fakes.programs import free_port
from tests.hostile.wire import wired

Client = TestClient[web.Request, web.Application]

ASK = "/askQuestionWithoutStream"
QUESTION = {"topic": "Redis", "topicQuestion": "What is a stream?"}
CLIENT_JS = "/socket.io/socket.io.js"


class FakeChain:
    """Says these pieces, and then fails, if that is wanted; `asked` is what it was asked."""

    def __init__(self, *pieces: str) -> None:
        self.pieces = pieces
        self.failure: Exception | None = None
        self.asked: list[tuple[str, str]] = []

    async def aclose(self) -> None:
        """Hold nothing open."""

    async def stream(self, topic: str, question: str) -> AsyncGenerator[str | Finish]:
        """Answer."""
        self.asked.append((topic, question))
        for piece in self.pieces:
            yield piece
        if self.failure:
            raise self.failure
        yield Finish("stop")

    async def load(self, settings: Settings) -> Chain:
        """The loader of this chain."""
        return self


@pytest.fixture
def chain() -> FakeChain:
    """The model."""
    return FakeChain("A log ", "of <b>entries</b>,\n", "{in} order. 漢字")


@pytest.fixture
async def client(chain: FakeChain) -> AsyncIterator[Client]:
    """A client of a server that can take questions."""
    app = create_app(Settings(), connect=embedded_redis, load_chain=chain.load)
    async with TestClient(TestServer(app)) as client:
        await ready(client)
        yield client


async def ready(client: Client) -> None:
    """Wait until the server can take questions."""
    async with asyncio.timeout(5):
        while (await client.get("/readyz")).status != 200:
            pass


async def post(client: Client, body: Any) -> tuple[int, Any]:
    """Ask; the status and the decoded body."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    async with client.post(ASK, data=data, headers=headers) as response:
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert response.content_type == "application/json"
        return response.status, await response.json()


# Questions


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


# Health


async def test_is_alive(client: Client) -> None:
    """/healthz answers as long as the process does."""
    async with client.get("/healthz") as response:
        assert (response.status, await response.json()) == (200, {"status": "ok"})


async def test_is_ready(client: Client) -> None:
    """/readyz is 200 while questions can be taken."""
    async with client.get("/readyz") as response:
        assert (response.status, await response.json()) == (200, {"status": "ready"})


async def test_is_not_ready_without_redis(chain: FakeChain) -> None:
    """Without Redis /readyz is 503, and /healthz stays 200: a restart would not help."""
    settings = Settings(redis_url=f"redis://127.0.0.1:{free_port()}/0")
    app = create_app(settings, connect=connect, load_chain=chain.load)
    async with TestClient(TestServer(app)) as client:
        async with client.get("/readyz") as response:
            assert response.status == 503
            assert (await response.json())["error"]["code"] == "storage_unavailable"
        async with client.get("/healthz") as response:
            assert response.status == 200


async def test_whoever_is_ready_takes_questions(chain: FakeChain) -> None:
    """The first question after the first 200 of /readyz is accepted."""
    app = create_app(Settings(), connect=embedded_redis, load_chain=chain.load)
    async with TestClient(TestServer(app)) as client:
        await ready(client)
        status, _ = await post(client, QUESTION)
        assert status == 200


async def test_is_not_ready_while_draining(client: Client) -> None:
    """Before the end /readyz is 503 and questions are refused for a moment; /healthz is 200."""
    assert client.app
    await drain(client.app)
    async with client.get("/readyz") as response:
        assert response.status == 503
    status, body = await post(client, QUESTION)
    assert (status, body["error"]["code"], body["error"]["retryable"]) == (500, "busy", True)
    async with client.get("/healthz") as response:
        assert response.status == 200


# CORS


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("HEAD", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("GET", "/", 404),
        ("GET", "/nothing", 404),
        ("GET", ASK, 404),
        ("DELETE", ASK, 404),
        ("PUT", "/healthz", 404),
        ("POST", ASK, 400),
        ("OPTIONS", "/anything", 204),
    ],
)
async def test_every_origin_may_read_every_answer(
    client: Client, method: str, path: str, status: int
) -> None:
    """The CORS header is on answers of every kind, errors too, once; a wrong method is a 404."""
    headers = {"Origin": "http://elsewhere.test"}
    async with client.request(method, path, headers=headers) as response:
        assert response.status == status
        assert response.headers.getall("Access-Control-Allow-Origin") == ["*"]


@pytest.mark.parametrize(
    ("query", "status"),
    [("transport=polling", 200), ("transport=nonsense", 400), ("transport=polling&sid=x", 400)],
)
async def test_every_origin_may_connect(client: Client, query: str, status: int) -> None:
    """Socket.IO's own answers allow the origin that asks, whichever it is, errors too."""
    headers = {"Origin": "http://elsewhere.test"}
    async with client.get(f"/socket.io/?EIO=4&{query}", headers=headers) as response:
        assert response.status == status
        (allowed,) = response.headers.getall("Access-Control-Allow-Origin")
        assert allowed in ("*", "http://elsewhere.test")
        assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize("path", [ASK, "/healthz", "/nothing", "/", "/a/b?c=d"])
async def test_a_preflight_is_answered_on_every_path(client: Client, path: str) -> None:
    """204, the methods of Express's cors, the headers that were asked for, and Vary."""
    wanted = "content-type, X-Whatever"
    headers = {
        "Origin": "http://elsewhere.test",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": wanted,
    }
    async with client.options(path, headers=headers) as response:
        assert response.status == 204
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert response.headers["Access-Control-Allow-Methods"] == "GET,HEAD,PUT,PATCH,POST,DELETE"
        assert response.headers["Access-Control-Allow-Headers"] == wanted
        assert response.headers["Vary"] == "Access-Control-Request-Headers"
        assert await response.read() == b""


async def test_a_preflight_without_headers_allows_none(client: Client) -> None:
    """Where no headers were asked for, none are echoed."""
    async with client.options(ASK) as response:
        assert response.status == 204
        assert "Access-Control-Allow-Headers" not in response.headers


async def test_what_is_not_there_is_json(client: Client) -> None:
    """A 404 has a body in the shape of the other errors."""
    async with client.get("/nothing") as response:
        assert (await response.json())["error"]["code"] == "not_found"


# The browser client


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the page in which the client is installed, beside files nobody may see."""
    dist = tmp_path / "frontend" / static_page.CLIENT_DIST
    dist.mkdir(parents=True)
    for name in ("socket.io.js", "socket.io.min.js.map", "socket.io.hidden.js"):
        (dist / name).write_text(f"this is {name}", "utf-8")
    (tmp_path / "frontend" / "package.json").write_text("secret", "utf-8")
    look_up = static_page.socket_io_client_file
    monkeypatch.setattr(
        static_page, "socket_io_client_file", lambda name: look_up(name, tmp_path / "frontend")
    )
    return dist


@pytest.mark.parametrize("name", ["socket.io.js", "socket.io.min.js.map"])
async def test_serves_the_client_that_npm_installed(
    client: Client, installed: Path, name: str
) -> None:
    """The client and its source map come from the npm package."""
    async with client.get(f"/socket.io/{name}") as response:
        assert response.status == 200
        assert await response.text() == f"this is {name}"
        assert response.headers["Access-Control-Allow-Origin"] == "*"


async def test_redirects_to_the_cdn_where_none_is_installed(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the npm package the same file of the same version is found at the CDN."""
    monkeypatch.setattr(static_page, "socket_io_client_file", lambda name: None)
    async with client.get(CLIENT_JS, allow_redirects=False) as response:
        assert response.status == 302
        assert response.headers["Location"] == static_page.socket_io_client_url("socket.io.js")
        assert response.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize(
    "path",
    [
        "/socket.io/other.js",
        "/socket.io/socket.io",
        "/socket.io/socket.io.css",
        "/socket.io/socket.io.hidden.js",
        "/socket.io/socket.io.nonsense.min.js",
        "/socket.io/socket.io..js",
        "/socket.io/socket.io.js.map.map",
    ],
)
async def test_unknown_files_of_the_client_are_404(
    client: Client, installed: Path, path: str
) -> None:
    """Only the names that Node's server serves exist here, whatever the package holds."""
    async with client.get(path, allow_redirects=False) as response:
        assert response.status == 404


@pytest.mark.parametrize(
    "path",
    [
        "/socket.io/../package.json",
        "/socket.io/../../../package.json",
        "/socket.io/..%2f..%2f..%2fpackage.json",
        "/socket.io/socket.io.js/../../../../package.json",
        "/socket.io/socket.io%2f..%2f..%2f..%2f..%2fpackage.js",
        "/socket.io/socket.io..%5c..%5cpackage.js",
        "/socket.io/%2e%2e/%2e%2e/package.json",
        "/socket.io/socket.io%00.js",
        "//socket.io/../package.json",
    ],
)
async def test_no_path_leads_out_of_the_package(client: Client, installed: Path, path: str) -> None:
    """However a path is spelled, nothing but the client's files is served."""
    address = URL(f"http://{client.host}:{client.port}{path}", encoded=True)
    async with client.session.get(address, allow_redirects=False) as response:
        assert response.status in (400, 404)
        assert "secret" not in await response.text()
