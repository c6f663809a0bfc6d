"""A real nginx with our example file, and a certificate that only these tests believe in."""

import asyncio
import contextlib
import os
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from tests.fakes.programs import ROOT, START_TIMEOUT_S, STOP_TIMEOUT_S, free_port, need

EXAMPLE = ROOT / "backend" / "deploy" / "nginx.conf"

# What stands around the example on a Debian machine, in as few words as will do.
MAIN = """\
{user}
daemon off;
pid {folder}/nginx.pid;
error_log stderr warn;
worker_processes 2;
events {{ worker_connections 1024; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/answers.conf;
}}
"""


class Nginx:
    """nginx on loopback, in front of two ports. `url` is its TLS address."""

    def __init__(self, folder: Path, upstream_ports: tuple[int, int], page: Path) -> None:
        self.port, self.plain_port = free_port(), free_port()
        self.url = f"https://localhost:{self.port}"
        self.certificate = folder / "certificate.pem"
        self._folder = folder
        self._program = need("nginx")
        _make_certificate(folder / "key.pem", self.certificate)
        self._write(upstream_ports, page)

    def _write(self, upstream_ports: tuple[int, int], page: Path) -> None:
        """Write the example with the ports and paths of this test in the places of its own."""
        text = EXAMPLE.read_text("utf-8")
        for theirs, ours, times in (
            ("server 127.0.0.1:3000 ", f"server 127.0.0.1:{upstream_ports[0]} ", 2),
            ("server 127.0.0.1:3001 ", f"server 127.0.0.1:{upstream_ports[1]} ", 2),
            ("    listen [::]:80;\n", "", 1),
            ("    listen [::]:443 ssl http2;\n", "", 1),
            ("listen 80;", f"listen 127.0.0.1:{self.plain_port};", 1),
            ("listen 443 ssl", f"listen 127.0.0.1:{self.port} ssl", 1),
            ("/etc/ssl/answers/fullchain.pem", str(self.certificate), 1),
            ("/etc/ssl/answers/privkey.pem", str(self._folder / "key.pem"), 1),
            ("/srv/answers/frontend", str(page), 1),
        ):
            assert text.count(theirs) == times, theirs
            text = text.replace(theirs, ours)
        (self._folder / "answers.conf").write_text(text, "utf-8")
        user = "user root;" if os.geteuid() == 0 else ""  # else it reads no file of root's
        main = MAIN.format(folder=self._folder, user=user)
        (self._folder / "nginx.conf").write_text(main, "utf-8")

    def command(self, *options: str) -> list[str]:
        """The command line of this nginx."""
        folder = str(self._folder)
        return [self._program, "-e", "stderr", "-p", folder, "-c", f"{folder}/nginx.conf", *options]

    def check(self) -> str:
        """What `nginx -t` says about the file; it has to be content."""
        run = subprocess.run(self.command("-t"), capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        return run.stderr

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Nginx"]:
        """Run it while the block lasts."""
        process = await asyncio.create_subprocess_exec(
            *self.command(), stderr=asyncio.subprocess.DEVNULL
        )
        try:
            await self._listening()
            yield self
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await process.wait()

    async def _listening(self) -> None:
        async with asyncio.timeout(START_TIMEOUT_S):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    await asyncio.sleep(0)
                    continue
                writer.close()
                return

    def session(self, address: str = "127.0.0.1") -> aiohttp.ClientSession:
        """Somebody who believes in its certificate, and comes from this address."""
        trust = ssl.create_default_context(cafile=str(self.certificate))
        connector = aiohttp.TCPConnector(limit=0, ssl=trust, local_addr=(address, 0))
        return aiohttp.ClientSession(connector=connector)


def _make_certificate(key: Path, certificate: Path) -> None:
    """Sign a certificate for localhost with its own key."""
    subprocess.run(
        [
            need("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt",
            "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=DNS:localhost",
            "-keyout", str(key), "-out", str(certificate),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
