"""Serves the page, frontend/, on an origin of its own; any static file server would do as well."""

import asyncio
import functools
import json
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

_PACKAGE = Path(__file__).resolve().parents[1]
# An installed package carries the page inside; in a clone it stands beside.
_CARRIED = _PACKAGE / "frontend"
FRONTEND = _CARRIED if _CARRIED.is_dir() else _PACKAGE.parent / "frontend"
DEFAULT_BACKEND_PORT = 3000  # where the page looks when it is told nothing


@dataclass(frozen=True, slots=True)
class Package:
    """An npm package: the files that may be served of it, and the one the CDN may be asked for."""

    name: str
    files: frozenset[str]
    from_cdn: str

    def installed(self, root: Path, file: str) -> Path | None:
        """Where npm put this file of it, if the page may have it and it is there."""
        path = root / "node_modules" / self.name / file
        return path if file in self.files and path.is_file() else None

    def cdn_url(self, root: Path, file: str) -> str:
        """Where a CDN has the same file of the same version; no name gives the folder."""
        return f"https://cdn.jsdelivr.net/npm/{self.name}@{_versions(root)[self.name]}/{file}"


CLIENT_DIST = Path("node_modules/socket.io-client/dist")
CLIENT_FILES = frozenset(
    name + suffix
    for name in (
        "socket.io.js",
        "socket.io.min.js",
        "socket.io.esm.min.js",
        "socket.io.msgpack.min.js",
    )
    for suffix in ("", ".map")
)
CLIENT = Package(
    "socket.io-client",
    frozenset(f"dist/{name}" for name in CLIENT_FILES),
    from_cdn="dist/socket.io.min.js",
)
PACKAGES = (
    CLIENT,
    Package("marked", frozenset({"lib/marked.esm.js"}), from_cdn="lib/marked.umd.js"),
    Package("dompurify", frozenset({"dist/purify.es.mjs"}), from_cdn="dist/purify.min.js"),
    Package(
        "@highlightjs/cdn-assets",
        frozenset({"es/highlight.min.js"}),
        from_cdn="highlight.min.js",
    ),
)

# What a browser is given, and nothing else: no package.json, and none of a clone's tests.
# Said here, because the types that the system knows differ from host to host.
_CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".map": "application/json",
    ".svg": "image/svg+xml",
}
_BACKEND_META = '<meta name="backend" content="{}" />'


def create_page(root: Path = FRONTEND, backend_port: int | None = None) -> web.Application:
    """An application that serves the page in `root`.

    The page looks for the backend on port 3000 of its own host; where that is
    another one, `backend_port` is written into the page's `<meta name="backend">`.
    Raises FileNotFoundError where there is no page in `root`.
    """
    root = root.resolve(strict=True)
    index = _fill_in(root / "index.html", backend_port)
    headers = _headers(root)

    async def serve_index(_: web.Request) -> web.Response:
        return web.Response(body=index, headers={"Content-Type": _CONTENT_TYPES[".html"]})

    async def serve_file(request: web.Request) -> web.FileResponse:
        path = await asyncio.to_thread(_public_file, root, request.match_info["path"])
        if path is None:
            raise web.HTTPNotFound
        return web.FileResponse(path, headers={"Content-Type": _CONTENT_TYPES[path.suffix]})

    async def add_headers(_: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(headers)

    page = web.Application()
    page.on_response_prepare.append(add_headers)
    page.router.add_get("/", serve_index)
    page.router.add_get("/index.html", serve_index)
    page.router.add_get("/{path:.+}", serve_file)
    return page


def socket_io_client_file(name: str, root: Path = FRONTEND) -> Path | None:
    """The browser client that npm installed, by the name Node's server serves it under."""
    return CLIENT.installed(root, f"dist/{name}")


def socket_io_client_url(name: str, root: Path = FRONTEND) -> str:
    """Where a CDN has the same file of the same version; no name gives the folder."""
    return CLIENT.cdn_url(root, f"dist/{name}")


@functools.cache
def _versions(root: Path) -> dict[str, str]:
    package = json.loads((root / "package.json").read_text("utf-8"))
    return {name: str(version) for name, version in package["dependencies"].items()}


def _headers(root: Path) -> dict[str, str]:
    """What every response carries, errors too."""
    # Not the whole CDN, which serves anything that is on npm.
    scripts = " ".join(package.cdn_url(root, package.from_cdn) for package in PACKAGES)
    policy = (
        "default-src 'none'",
        f"script-src 'self' {scripts}",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src * ws: wss:",  # the backend may be anywhere; older Safari wants ws: by name
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # Text becomes markup, or the address of a script, by DOMPurify and js/cdn.js alone.
        "require-trusted-types-for 'script'",
        "trusted-types dompurify cdn",
    )
    return {
        "Cache-Control": "no-cache",
        "Content-Security-Policy": "; ".join(policy),
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }


def _fill_in(index: Path, backend_port: int | None) -> bytes:
    text = index.read_text("utf-8")
    if backend_port not in (None, DEFAULT_BACKEND_PORT):
        empty = _BACKEND_META.format("")
        if empty not in text:
            raise ValueError(f"{index.name} has no {empty} to fill in")
        text = text.replace(empty, _BACKEND_META.format(backend_port))
    return text.encode()


def _public_file(root: Path, name: str) -> Path | None:
    """The file below `root` that may be served under this name, if there is one."""
    parts = name.split("/")
    if any(not part or part.startswith(".") or "\\" in part for part in parts):
        return None
    if parts[0] == "tests":
        return None
    if parts[0] == "node_modules":
        return _package_file(root, name)
    try:
        path = (root / name).resolve(strict=True)
    except (OSError, ValueError):  # no such file, a name too long, a null byte
        return None
    inside = path.is_relative_to(root) and path.is_file()
    return path if inside and path.suffix in _CONTENT_TYPES else None


def _package_file(root: Path, name: str) -> Path | None:
    for package in PACKAGES:
        file = name.removeprefix(f"node_modules/{package.name}/")
        if file != name:
            return package.installed(root, file)
    return None
