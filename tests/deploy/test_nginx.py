"""A real nginx with our example file: the page, and which server gets which request."""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from backend.server.static_page import FRONTEND, PACKAGES, create_page
from tests.fakes.nginx import EXAMPLE, Nginx
from tests.fakes.programs import RedisServer, program

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE_HEADERS = (
    "Cache-Control",
    "Content-Security-Policy",
    "Referrer-Policy",
    "X-Content-Type-Options",
)


async def test_nginx_takes_the_file(tmp_path: Path, ports: tuple[int, int]) -> None:
    """`nginx -t` finds nothing wrong, and warns of nothing."""
    said = Nginx(tmp_path, ports, FRONTEND).check()
    assert "test is successful" in said
    assert "[warn]" not in said


# The page


@pytest.mark.parametrize("path", ["/", "/index.html", "/js/main.js", "/styles.css", "/nothing"])
async def test_the_page_is_that_of_the_backend(
    http: aiohttp.ClientSession, nginx: Nginx, path: str
) -> None:
    """The same files arrive with the same headers as from the backend's own page server."""
    async with TestClient(TestServer(create_page(backend_port=nginx.port))) as own:
        async with own.get(path) as expected, http.get(nginx.url + path) as response:
            assert response.status == expected.status
            for name in PAGE_HEADERS:
                assert response.headers[name] == expected.headers[name]
            if response.status == 200:
                assert response.headers["Content-Type"] == expected.headers["Content-Type"]
                assert await response.read() == await expected.read()


async def test_what_the_page_imports_is_served(http: aiohttp.ClientSession, nginx: Nginx) -> None:
    """Of what npm has installed, nginx gives the page what the page's own server gives it."""
    files = [f"/node_modules/{each.name}/{file}" for each in PACKAGES for file in each.files]
    async with TestClient(TestServer(create_page())) as own:
        for path in files:
            async with own.get(path) as expected, http.get(nginx.url + path) as response:
                assert response.status == expected.status, path
                if response.status == 200:
                    assert response.headers["Content-Type"] == expected.headers["Content-Type"]


async def test_every_file_of_the_page_is_served(http: aiohttp.ClientSession, nginx: Nginx) -> None:
    """What the page's own server gives a browser, nginx gives it, too."""
    suffixes = {".html", ".css", ".js", ".svg"}
    files = (path.relative_to(FRONTEND) for path in FRONTEND.rglob("*") if path.suffix in suffixes)
    for path in files:
        if not {"tests", "node_modules"} & set(path.parts):
            async with http.get(f"{nginx.url}/{path}") as response:
                assert response.status == 200, path


@pytest.mark.parametrize(
    "path",
    [
        "/package.json",
        "/.npmrc",
        "/js/../package.json",
        "/node_modules/socket.io-client/package.json",
        "/node_modules/marked/lib/marked.umd.js",
        "/tests/address.test.js",
        "/metrics",
        "/readyz",
    ],
)
async def test_nothing_else_is_served(http: aiohttp.ClientSession, nginx: Nginx, path: str) -> None:
    """Neither what lies beside the page nor what is the operator's business."""
    async with http.get(nginx.url + path) as response:
        assert response.status == 404


async def test_plain_http_is_sent_to_tls(nginx: Nginx) -> None:
    """Whoever leaves the s out is led to the right address, with what they were about to send."""
    async with aiohttp.ClientSession() as http:
        url = f"http://localhost:{nginx.plain_port}/askQuestionWithoutStream"
        async with http.post(url, allow_redirects=False) as response:
            assert response.status == 308
            assert response.headers["Location"] == "https://localhost/askQuestionWithoutStream"


# Which server gets what


class Echo:
    """Two servers that say who they are and what they were sent, in place of the real ones."""

    def __init__(self) -> None:
        self.requests: list[tuple[int, dict[str, str]]] = []

    @asynccontextmanager
    async def serving(self, ports: tuple[int, int]) -> AsyncIterator["Echo"]:
        """Listen on both ports."""
        async with AsyncExitStack() as stack:
            for port in ports:
                app = web.Application()
                app.router.add_route("*", "/{path:.*}", self._answer_of(port))
                runner = web.AppRunner(app, shutdown_timeout=0.1)
                await runner.setup()
                stack.push_async_callback(runner.cleanup)
                await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
            yield self

    def _answer_of(self, port: int) -> Any:
        async def answer(request: web.Request) -> web.StreamResponse:
            self.requests.append((port, dict(request.headers)))
            if request.headers.get("Upgrade", "").lower() != "websocket":
                return web.Response(text=str(port))
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            await socket.send_str(str(port))
            await socket.receive()
            return socket

        return answer


@pytest_asyncio.fixture(loop_scope="module")
async def echo(ports: tuple[int, int]) -> AsyncIterator[Echo]:
    """The two that echo."""
    async with Echo().serving(ports) as echo:
        yield echo


async def test_polling_sticks_to_its_server(
    http: aiohttp.ClientSession, nginx: Nginx, echo: Echo
) -> None:
    """The handshake, the polls, the posts and the upgrade of one client reach one server."""
    url = f"{nginx.url}/socket.io/?EIO=4&transport="
    reached = set()
    for turn in range(6):
        async with http.get(f"{url}polling") as response:
            reached.add(await response.text())
        async with http.post(f"{url}polling&sid=session-{turn}", data="40") as response:
            reached.add(await response.text())
        async with http.ws_connect(f"{url}websocket&sid=session-{turn}") as socket:
            reached.add(await socket.receive_str())
    assert len(reached) == 1


async def test_websockets_alone_are_spread(
    http: aiohttp.ClientSession, nginx: Nginx, echo: Echo, ports: tuple[int, int]
) -> None:
    """Clients that never poll are shared out evenly, all behind one address as they are."""
    url = f"{nginx.url}/socket.io/?EIO=4&transport=websocket"
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(http.ws_connect(url)) for _ in range(8)]
        reached = [int(await socket.receive_str()) for socket in sockets]
    # Each of nginx's two processes counts for itself.
    assert set(reached) == set(ports)
    assert min(reached.count(port) for port in ports) >= 2


async def test_the_servers_learn_whose_request_it_is(
    http: aiohttp.ClientSession, nginx: Nginx, echo: Echo
) -> None:
    """The address of the client and the name it used get through; a forged address does not."""
    forged = {"X-Forwarded-For": "203.0.113.9"}
    for path in ("/socket.io/?EIO=4&transport=polling", "/askQuestionWithoutStream"):
        async with http.post(nginx.url + path, headers=forged) as response:
            assert response.status == 200
    for _, headers in echo.requests:
        assert headers["X-Forwarded-For"] == "127.0.0.1"
        assert headers["X-Forwarded-Proto"] == "https"
        assert headers["Host"] == f"localhost:{nginx.port}"


async def test_limits_count_people_not_nginx(
    nginx: Nginx, ports: tuple[int, int], shared_redis: RedisServer
) -> None:
    """A server that trusts nginx tells two addresses behind it apart."""
    env = {"TRUSTED_PROXIES": "127.0.0.1", "MAX_SOCKETS_PER_ADDRESS": "1", "HOST": "127.0.0.1"}
    env |= {"REDIS_URL": shared_redis.url, "PORT": str(ports[0])}
    async with program("--workers", "0", **env) as server, AsyncExitStack() as exits:
        await server.ready()

        async def answer_to_handshake(address: str) -> str:
            http = await exits.enter_async_context(nginx.session(address))
            url = f"{nginx.url}/socket.io/?EIO=4&transport=websocket"
            socket = await exits.enter_async_context(http.ws_connect(url))
            assert (await socket.receive_str()).startswith("0{")
            await socket.send_str("40")
            return await socket.receive_str()

        assert (await answer_to_handshake("127.0.0.2")).startswith("40{")
        assert (await answer_to_handshake("127.0.0.3")).startswith("40{")
        refused = await answer_to_handshake("127.0.0.2")
    assert refused.startswith("44{")
    assert "busy" in refused


async def test_the_file_says_what_has_to_be_changed() -> None:
    """Every address, name and path of an example is marked as one."""
    text = EXAMPLE.read_text("utf-8")
    for line in text.splitlines():
        code, _, comment = line.partition("#")
        if re.search(r"\bserver_name\b|server 127|ssl_certificate|\broot\b", code):
            assert "yours" in comment, line
