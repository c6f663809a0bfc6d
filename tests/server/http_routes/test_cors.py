"""CORS as Express answers it: every origin may read every answer, and ask."""

import pytest

from .http_client import ASK, Client


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
