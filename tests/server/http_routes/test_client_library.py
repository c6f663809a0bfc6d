"""GET /socket.io/socket.io.js: the client library for browsers, and no other file."""

from pathlib import Path

import pytest
from yarl import URL

from backend.server import static_page

from .http_client import Client

CLIENT_JS = "/socket.io/socket.io.js"


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
