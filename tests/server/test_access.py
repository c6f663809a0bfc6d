"""Who may come in and what is theirs, from outside: over sockets, polling and HTTP."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import aiohttp
import jwt
import pytest
import socketio

from backend.protocol.errors import Unauthorized
from backend.protocol.requests import new_question_id
from backend.server.auth import Visitor
from tests.fakes.told_backend import PATIENCE_S, Backend

SECRET = "a secret of the tests, long enough for HS256"  # noqa: S105
PAGE = "https://page.example"
TRANSPORTS = pytest.mark.parametrize("transport", ["polling", "websocket"])


def token(user_id: str, *, seconds: float = 60, secret: str = SECRET) -> str:
    """A token of this user's."""
    return jwt.encode({"sub": user_id, "exp": time.time() + seconds}, secret, "HS256")


class Tab:
    """A client of the library's, with what it was told."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        # A session of its own making the library leaves open where it is refused.
        self.sio = socketio.AsyncClient(reconnection=False, http_session=http)
        self.refusals: list[Any] = []
        self.chunks: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()
        self.sio.on("connect_error", self.refusals.append)
        self.sio.on("chunk", lambda text, meta: self.chunks.put_nowait((text, meta)))

    async def connect(self, url: str, transport: str = "websocket", **options: Any) -> None:
        """Connect; raises where that is refused."""
        await self.sio.connect(url, transports=[transport], wait_timeout=PATIENCE_S, **options)

    async def call(self, event: str, **payload: Any) -> dict[str, Any]:
        """Emit, and wait for the acknowledgement."""
        ack: dict[str, Any] = await self.sio.call(event, payload, timeout=PATIENCE_S)
        return ack

    async def ask(self, question: str = "What?", **more: Any) -> dict[str, Any]:
        """Ask."""
        return await self.call("askQuestion", topic="Redis", topicQuestion=question, **more)

    async def words(self) -> str:
        """The answer up to its END."""
        text = ""
        async with asyncio.timeout(PATIENCE_S):
            while "status" not in (chunk := await self.chunks.get())[1]:
                text += chunk[0] if chunk[1].get("number") else ""
        return text


@pytest.fixture
async def tabs() -> AsyncIterator[list[Tab]]:
    """Three tabs that are not connected."""
    async with aiohttp.ClientSession() as http:
        opened = [Tab(http) for _ in range(3)]
        yield opened
        for tab in opened:
            await tab.sio.shutdown()


@pytest.fixture
async def guarded() -> AsyncIterator[Backend]:
    """A backend that wants tokens."""
    async with Backend(auth_secret=SECRET).running() as backend:
        yield backend


async def post(backend: Backend, **headers: str) -> tuple[int, dict[str, Any], Any]:
    """Ask by POST; returns status, body and headers."""
    payload = {"topic": "Redis", "topicQuestion": "What?"}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.post(f"{backend.url}/askQuestionWithoutStream", json=payload) as response,
    ):
        return response.status, await response.json(), response.headers


@TRANSPORTS
async def test_a_token_opens_the_door(guarded: Backend, tabs: list[Tab], transport: str) -> None:
    """With a valid token everything is as without identity."""
    await tabs[0].connect(guarded.url, transport, auth={"token": token("ann")})
    assert (await tabs[0].ask())["ok"]
    guarded.chain.finish("What?", "That.")
    assert await tabs[0].words() == "That."


@TRANSPORTS
@pytest.mark.parametrize(
    ("auth", "reason"),
    [
        (None, "A token is needed."),
        ({"userId": "ann"}, "A token is needed."),
        ({"token": "nonsense"}, "The token is not valid."),
        ({"token": token("ann", secret=SECRET[::-1])}, "The token is not valid."),
        ({"token": token("ann", seconds=-60)}, "The token has expired."),
    ],
)
async def test_without_one_it_stays_shut(
    guarded: Backend, tabs: list[Tab], transport: str, auth: Any, reason: str
) -> None:
    """A handshake without a valid token is refused, with a reason that a page can show."""
    with pytest.raises(socketio.exceptions.ConnectionError):
        await tabs[0].connect(guarded.url, transport, auth=auth)
    (refusal,) = tabs[0].refusals
    assert refusal["message"] == reason
    assert refusal["data"] == {"code": "unauthorized", "message": reason, "retryable": False}


async def test_a_question_is_its_asker_s(guarded: Backend, tabs: list[Tab]) -> None:
    """Somebody else with the id can neither resume, stop nor repeat it; its asker can."""
    ann, ben, ann_again = tabs
    await ann.connect(guarded.url, auth={"token": token("ann")})
    await ben.connect(guarded.url, auth={"token": token("ben")})
    await ann_again.connect(guarded.url, auth={"token": token("ann")})
    question_id = (await ann.ask())["questionId"]
    for refused in (
        await ben.call("resumeQuestion", questionId=question_id),
        await ben.call("stopQuestion", questionId=question_id),
        await ben.ask(questionId=question_id),
    ):
        assert (refused["ok"], refused["error"]["code"]) == (False, "unauthorized")
    guarded.chain.finish("What?", "That.")
    assert await ann.words() == "That."
    assert (await ann_again.call("resumeQuestion", questionId=question_id))["ok"]
    assert await ann_again.words() == "That."
    heard = [ben.chunks.get_nowait() for _ in range(ben.chunks.qsize())]
    assert "That." not in json.dumps(heard)


async def test_a_token_that_expires_meanwhile(
    guarded: Backend, tabs: list[Tab], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket outlives its token for reading on, not for asking."""
    await tabs[0].connect(guarded.url, auth={"token": token("ann")})
    ack = await tabs[0].call("resumeQuestion", questionId=new_question_id())
    assert ack["error"]["code"] == "expired"  # as is every answer that there is not
    later = SimpleNamespace(time=lambda: time.time() + 120, monotonic=time.monotonic)
    monkeypatch.setattr("backend.server.auth.time", later)
    ack = await tabs[0].call("resumeQuestion", questionId=new_question_id())
    assert ack["error"]["code"] == "unauthorized"
    assert "token has expired" in ack["error"]["message"]


async def test_http_wants_a_bearer(guarded: Backend) -> None:
    """A POST without a valid token is answered 401; with one it is answered."""
    for headers in ({}, {"Authorization": "Bearer nonsense"}, {"Authorization": token("ann")}):
        status, body, answered = await post(guarded, **headers)
        assert (status, body["error"]["code"]) == (401, "unauthorized")
        assert answered["WWW-Authenticate"] == "Bearer"
        assert answered["Access-Control-Allow-Origin"] == "*"
    guarded.chain.finish("What?", "That.")
    status, body, _ = await post(guarded, Authorization=f"Bearer {token('ann')}")
    assert (status, body) == (200, {"output": "That."})


async def test_health_needs_no_token(guarded: Backend) -> None:
    """Who looks after the server is no user of it."""
    async with aiohttp.ClientSession() as http:
        for path in ("/healthz", "/readyz"):
            assert (await http.get(f"{guarded.url}{path}")).status == 200


class Badges:
    """An identity of somebody else's making."""

    async def identify(self, address: str, auth: Any) -> Visitor:
        """Believe whoever wears a badge."""
        if not isinstance(auth, dict) or "badge" not in auth:
            raise Unauthorized("Where is your badge?")
        return Visitor(auth["badge"], address, verified=True)

    def may_read(self, visitor: Visitor, owner: str) -> bool:
        """Everybody with a badge reads everything."""
        return True


async def test_an_identity_of_one_s_own(tabs: list[Tab]) -> None:
    """What create_app is given decides, without a setting."""
    async with Backend(identity=Badges()).running() as backend:
        with pytest.raises(socketio.exceptions.ConnectionError):
            await tabs[0].connect(backend.url)
        assert tabs[0].refusals[0]["message"] == "Where is your badge?"
        await tabs[1].connect(backend.url, auth={"badge": "7"})
        assert (await tabs[1].ask())["ok"]


# Limits


async def test_too_many_asks_are_told_when_to_come_again(tabs: list[Tab]) -> None:
    """The refusal has a hint; over HTTP it is a 429 with the header for it."""
    async with Backend(asks_per_minute=1).running() as backend:
        await tabs[0].connect(backend.url)
        assert (await tabs[0].ask())["ok"]
        refused = await tabs[0].ask()
        assert refused["error"]["code"] == "rate_limited"
        assert 0 < refused["error"]["retryAfterS"] <= 60
        status, body, headers = await post(backend)
        assert (status, body["error"]["code"]) == (429, "rate_limited")
        assert int(headers["Retry-After"]) == body["error"]["retryAfterS"]


async def test_a_header_counts_where_a_proxy_is_trusted(tabs: list[Tab]) -> None:
    """Behind a trusted proxy people are told apart; a client's own header changes nothing."""
    for trusted, code in (("127.0.0.1", "200"), ("", "429")):
        async with Backend(asks_per_minute=1, trusted_proxies=trusted).running() as backend:
            backend.chain.finish("What?", "That.")
            await post(backend, **{"X-Forwarded-For": "9.9.9.9"})
            backend.chain.finish("What?", "That.")
            status, _, _ = await post(backend, **{"X-Forwarded-For": "8.8.8.8"})
            assert str(status) == code


@TRANSPORTS
async def test_too_many_sockets(tabs: list[Tab], transport: str) -> None:
    """One socket too many is refused; when another one leaves there is room."""
    async with Backend(max_sockets_per_address=1).running() as backend:
        await tabs[0].connect(backend.url, transport)
        with pytest.raises(socketio.exceptions.ConnectionError):
            await tabs[1].connect(backend.url, transport)
        assert tabs[1].refusals[0]["data"]["code"] == "busy"
        await tabs[0].sio.disconnect()
        async with asyncio.timeout(PATIENCE_S):
            while not tabs[2].sio.connected:
                try:
                    await tabs[2].connect(backend.url, transport)
                except socketio.exceptions.ConnectionError:
                    continue  # the server has not heard of it yet
        assert (await tabs[2].ask())["ok"]


async def test_refusals_and_limits_are_counted(tabs: list[Tab]) -> None:
    """Operators see which limit was reached, and by what kind of request."""
    async with Backend(asks_per_minute=1, max_sockets=1).running() as backend:
        await tabs[0].connect(backend.url)
        await tabs[0].ask()
        await tabs[0].ask()
        with pytest.raises(socketio.exceptions.ConnectionError):
            await tabs[1].connect(backend.url)
        async with aiohttp.ClientSession() as http, http.get(f"{backend.url}/metrics") as scrape:
            lines = (await scrape.text()).splitlines()
    samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    counted = {name: float(value) for name, _, value in samples}
    labels = 'process="server"'
    for name, value in (
        ('limits_hit_total{limit="asks_per_minute",LABELS}', 1),
        ('limits_hit_total{limit="max_sockets",LABELS}', 1),
        ('limits_hit_total{limit="max_queued",LABELS}', 0),
        ('refusals_total{code="busy",LABELS,request="connect"}', 1),
        ('refusals_total{code="rate_limited",LABELS,request="ask"}', 1),
    ):
        full = "streaming_llm_" + name.replace("LABELS", labels)
        assert counted.get(full) == value, full


# Origins


@TRANSPORTS
async def test_foreign_origins_stay_outside(tabs: list[Tab], transport: str) -> None:
    """With CORS_ORIGINS set, other pages are refused; ours and programs without one are served."""
    async with Backend(cors_origins=f"{PAGE}, https://other.example/").running() as backend:
        with pytest.raises(socketio.exceptions.ConnectionError):
            await tabs[0].connect(
                backend.url, transport, headers={"Origin": "https://evil.example"}
            )
        await tabs[1].connect(backend.url, transport, headers={"Origin": PAGE})
        await tabs[2].connect(backend.url, transport)
        assert (await tabs[1].ask())["ok"]


async def test_http_of_foreign_origins_is_refused() -> None:
    """On every path, preflights too; what is allowed is named, so that caches keep it apart."""
    async with Backend(cors_origins=PAGE).running() as backend, aiohttp.ClientSession() as http:
        for method, path in (
            ("GET", "/healthz"),
            ("POST", "/askQuestionWithoutStream"),
            ("OPTIONS", "/askQuestionWithoutStream"),
            ("GET", "/nowhere"),
        ):
            foreign = {"Origin": "https://evil.example"}
            async with http.request(method, f"{backend.url}{path}", headers=foreign) as refused:
                assert refused.status == 403, (method, path)
                assert "Access-Control-Allow-Origin" not in refused.headers
                assert "Origin" in refused.headers["Vary"]
            async with http.request(
                method, f"{backend.url}{path}", headers={"Origin": PAGE}
            ) as ours:
                assert ours.status != 403, (method, path)
                assert ours.headers["Access-Control-Allow-Origin"] == PAGE
        async with http.get(f"{backend.url}/healthz") as program:
            assert program.status == 200
