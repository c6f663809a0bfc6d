"""The page is served whole, alone, and with headers that leave no room for foreign scripts."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from backend.server.static_page import (
    CLIENT,
    CLIENT_DIST,
    FRONTEND,
    PACKAGES,
    Package,
    create_page,
    socket_io_client_file,
)

Client = TestClient[web.Request, web.Application]
VERSIONS = {package.name: f"{major}.9.9" for major, package in enumerate(PACKAGES, 1)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A page of a few files, with an installed client and things nobody may see."""
    root = tmp_path / "frontend"
    files = {
        "index.html": '<meta name="backend" content="" />',
        "styles.css": "body {}",
        "js/main.js": "export {};",
        "notes.txt": "ours",
        ".npmrc": "ours",
        ".git/main.js": "ours",
        "tests/main.test.js": "ours",
        "package.json": json.dumps({"dependencies": VERSIONS}),
        f"{CLIENT_DIST}/socket.io.esm.min.js": "client",
        f"{CLIENT_DIST}/socket.io.esm.min.js.map": "{}",
        f"{CLIENT_DIST}/other.js": "ours",
        "node_modules/marked/lib/marked.esm.js": "marked",
        "node_modules/marked/lib/marked.umd.js": "ours",
        "node_modules/marked/package.json": "ours",
        "node_modules/dompurify/dist/purify.es.mjs": "dompurify",
        "node_modules/@highlightjs/cdn-assets/es/highlight.min.js": "highlight",
        "node_modules/@highlightjs/cdn-assets/es/core.js": "ours",
        "node_modules/ws/index.js": "ours",
        "../secret.js": "ours",
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    (root / "js" / "link.js").symlink_to(tmp_path / "secret.js")
    return root


@pytest.fixture
async def client(root: Path) -> AsyncIterator[Client]:
    """A client of that page."""
    async with TestClient(TestServer(create_page(root))) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/", "text/html"),
        ("/index.html", "text/html"),
        ("/styles.css", "text/css"),
        ("/js/main.js", "text/javascript"),
        ("/node_modules/socket.io-client/dist/socket.io.esm.min.js", "text/javascript"),
        ("/node_modules/socket.io-client/dist/socket.io.esm.min.js.map", "application/json"),
        ("/node_modules/marked/lib/marked.esm.js", "text/javascript"),
        ("/node_modules/dompurify/dist/purify.es.mjs", "text/javascript"),
        ("/node_modules/@highlightjs/cdn-assets/es/highlight.min.js", "text/javascript"),
        ("/?backend=http://localhost:4000", "text/html"),
    ],
)
async def test_serves_the_page(client: Client, path: str, content_type: str) -> None:
    """Every file of the page arrives with its own type."""
    async with client.get(path) as response:
        assert response.status == 200
        assert response.content_type == content_type


@pytest.mark.parametrize(
    "path",
    [
        "/nothing.js",
        "/js",
        "/js/",
        "/js/main.js/",
        "/js//main.js",
        "/package.json",
        "/notes.txt",
        "/.npmrc",
        "/.git/main.js",
        "/tests/main.test.js",
        "/../secret.js",
        "/js/../../secret.js",
        "/%2e%2e/secret.js",
        "/js/..%2f..%2fsecret.js",
        "/js/..%5c..%5csecret.js",
        "/js/link.js",
        "/js/main.js%00",
        f"/{'x' * 5_000}.js",
        "/node_modules/ws/index.js",
        "/node_modules/socket.io-client/dist/other.js",
        "/node_modules/socket.io-client/dist/socket.io.js",
        "/node_modules/marked/lib/marked.umd.js",
        "/node_modules/marked/package.json",
        "/node_modules/@highlightjs/cdn-assets/es/core.js",
        "/node_modules/@highlightjs/es/highlight.min.js",
        "/node_modules/lib/marked.esm.js",
        "/node_modules",
        "/socket.io.esm.min.js",
    ],
)
async def test_serves_nothing_else(client: Client, path: str) -> None:
    """What is no part of the page is not found, in plain text, wherever it lies."""
    async with client.get(URL(path, encoded=True)) as response:
        assert response.status == 404
        assert response.content_type == "text/plain"
        assert "ours" not in await response.text()


@pytest.mark.parametrize("path", ["/", "/js/main.js", "/nothing"])
async def test_every_response_is_locked_down(client: Client, path: str) -> None:
    """Errors carry the same headers as files; nothing is cached without asking."""
    async with client.get(path) as response:
        policy = response.headers["Content-Security-Policy"]
        assert response.headers["Cache-Control"] == "no-cache"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in policy
    assert "'unsafe" not in policy
    assert "require-trusted-types-for 'script'; trusted-types dompurify cdn" in policy
    npm = "https://cdn.jsdelivr.net/npm"
    assert (
        f"script-src 'self' {npm}/socket.io-client@1.9.9/dist/socket.io.min.js "
        f"{npm}/marked@2.9.9/lib/marked.umd.js {npm}/dompurify@3.9.9/dist/purify.min.js "
        f"{npm}/@highlightjs/cdn-assets@4.9.9/highlight.min.js;" in policy
    )


async def test_unchanged_files_are_not_sent_twice(client: Client) -> None:
    """A browser that asks again is told that its copy is good."""
    async with client.get("/js/main.js") as first:
        tag = first.headers["ETag"]
    async with client.get("/js/main.js", headers={"If-None-Match": tag}) as second:
        assert second.status == 304


async def test_only_reading_is_allowed(client: Client) -> None:
    """A static page takes no POST."""
    async with client.post("/js/main.js") as response:
        assert response.status == 405


@pytest.mark.parametrize(("port", "content"), [(None, ""), (3000, ""), (3100, "3100")])
async def test_the_page_learns_the_backends_port(
    root: Path, port: int | None, content: str
) -> None:
    """A port other than the default is written into the page."""
    async with TestClient(TestServer(create_page(root, port))) as client, client.get("/") as page:
        assert f'<meta name="backend" content="{content}" />' in await page.text()


def test_a_page_that_cannot_learn_the_port_fails_at_start(root: Path) -> None:
    """An index.html without the meta element is a mistake that shows at once."""
    (root / "index.html").write_text("<p>nothing to fill in</p>", "utf-8")
    with pytest.raises(ValueError, match="to fill in"):
        create_page(root, 3100)


def test_a_missing_page_fails_at_start(tmp_path: Path) -> None:
    """A server without its page does not come up."""
    with pytest.raises(FileNotFoundError):
        create_page(tmp_path / "nowhere")


def test_the_installed_client_is_found_by_name(root: Path) -> None:
    """Only the names that Node's server knows, and only where npm has installed them."""
    found = socket_io_client_file("socket.io.esm.min.js", root)
    assert found is not None
    assert found.read_text("utf-8") == "client"
    assert socket_io_client_file("socket.io.min.js", root) is None
    assert socket_io_client_file("other.js", root) is None
    assert socket_io_client_file("../../../../secret.js", root) is None


class TestTheRealPage:
    """What is in frontend/ itself."""

    async def test_needs_nothing_but_what_is_served(self) -> None:
        """Each file that index.html and the modules name is there."""
        async with TestClient(TestServer(create_page(backend_port=3100))) as client:
            async with client.get("/") as index:
                text = await index.text()
            assert '<meta name="backend" content="3100" />' in text
            names = re.findall(r'(?:href|src)="([^"#]+)"', text)
            assert "js/main.js" in names
            names += [str(path.relative_to(FRONTEND)) for path in (FRONTEND / "js").rglob("*.js")]
            for name in names:
                async with client.get(f"/{name}") as response:
                    assert response.status == 200, name

    def test_has_no_inline_code_and_no_inner_html(self) -> None:
        """The policy forbids inline scripts and styles; nothing writes markup."""
        text = (FRONTEND / "index.html").read_text("utf-8")
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", text)
        for module in (FRONTEND / "js").rglob("*.js"):
            code = module.read_text("utf-8")
            assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", code)

    @pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
    def test_names_one_version_of_a_library_everywhere(self, package: Package) -> None:
        """package.json, the lock file, the policy and the loader agree on it."""
        manifest = json.loads((FRONTEND / "package.json").read_text("utf-8"))
        lock = json.loads((FRONTEND / "package-lock.json").read_text("utf-8"))
        version = manifest["dependencies"][package.name]
        assert re.fullmatch(r"\d+\.\d+\.\d+", version)
        assert lock["packages"][f"node_modules/{package.name}"]["version"] == version
        assert f"@{version}/" in package.cdn_url(FRONTEND, package.from_cdn)
        assert re.search(rf'(?i:version)(?: =|:) "{version}"', _loader(package))

    def test_the_lock_file_names_no_host(self) -> None:
        """Where packages come from is for the machine that installs them to say."""
        lock = json.loads((FRONTEND / "package-lock.json").read_text("utf-8"))["packages"]
        assert not [name for name, package in lock.items() if "resolved" in package]

    @pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
    def test_the_integrity_hash_is_that_of_the_installed_file(self, package: Package) -> None:
        """The CDN's copy is accepted only if it is the file that npm installs."""
        file = FRONTEND / "node_modules" / package.name / package.from_cdn
        if not file.is_file():
            pytest.skip(f"{package.name} is not installed: run `npm ci` in frontend/")
        digest = base64.b64encode(hashlib.sha384(file.read_bytes()).digest()).decode()
        assert f'"sha384-{digest}"' in _loader(package)
        assert package.from_cdn in _loader(package)

    @pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
    def test_npm_installs_what_is_served(self, package: Package) -> None:
        """Every name on the list is that of a file."""
        if not (FRONTEND / "node_modules" / package.name).is_dir():
            pytest.skip(f"{package.name} is not installed: run `npm ci` in frontend/")
        assert [name for name in package.files if not package.installed(FRONTEND, name)] == []

    def test_its_modules_pass_their_own_tests(self) -> None:
        """The parts that know no browser are tested where they run: with node's test runner."""
        node = shutil.which("node")
        if node is None:
            pytest.skip("node is not installed")
        files = sorted(str(path) for path in (FRONTEND / "tests").glob("*.test.js"))
        run = subprocess.run(
            [node, "--test", *files], capture_output=True, text=True, timeout=30, check=False
        )
        assert run.returncode == 0, run.stdout[-4_000:] + run.stderr[-1_000:]


def _loader(package: Package) -> str:
    """The text of the module that loads it."""
    name = "client.js" if package is CLIENT else "markdown/libraries.js"
    return (FRONTEND / "js" / name).read_text("utf-8")
