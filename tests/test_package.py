"""The wheel: whatever a clone can do, an installed package can do as well."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import aiohttp
import pytest

from tests.fakes.command import output_of
from tests.fakes.programs import ROOT, program

BUILD_TIMEOUT_S = 50  # it takes two
SERVED = {".html", ".css", ".js", ".svg"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the contents of the wheel, as `pip install` would lay them down."""
    folder = tmp_path_factory.mktemp("wheel")
    build = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-index"),
            *("--no-build-isolation", "--wheel-dir", folder, ROOT),
        ],
        capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False,
    )  # fmt: skip
    assert build.returncode == 0, build.stderr
    (wheel,) = folder.glob("*.whl")
    site = folder / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


def names(folder: Path, suffixes: set[str]) -> set[str]:
    """The files in a folder that end so, but for tests and what npm has put there."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.suffix in suffixes)
    return {str(path) for path in found if not {"tests", "node_modules"} & set(path.parts)}


def test_every_module_is_in_the_wheel(installed: Path) -> None:
    """The package is there with all its modules, and no other package is."""
    assert names(installed / "backend", {".py"}) == names(ROOT / "backend", {".py"})
    (metadata,) = installed.glob("streaming_llm_output-*.dist-info")
    assert set(installed.iterdir()) == {installed / "backend", metadata}


def test_the_whole_page_is_in_the_wheel(installed: Path) -> None:
    """Every file that a browser may ask for is carried along, and its tests are not."""
    carried = installed / "backend" / "frontend"
    assert names(carried, SERVED) == names(ROOT / "frontend", SERVED)
    assert not (carried / "tests").exists()


async def test_an_installed_demo_serves_page_and_answers(installed: Path, tmp_path: Path) -> None:
    """Far from any clone: the page loads, and a question is answered."""
    options = ("--demo", "--port", "0", "--frontend-port", "0")
    env = {"PYTHONPATH": str(installed), "SHUTDOWN_GRACE_S": "0"}
    async with program(*options, directory=tmp_path, **env) as demo:
        await demo.printed("<- open this")
        backend, page = re.findall(r"(?:Backend|Page): +(http://127\.0\.0\.1:\d+)", demo.log)
        async with aiohttp.ClientSession() as http:
            for name in ("", "styles.css", "js/main.js"):
                async with http.get(f"{page}/{name}") as response:
                    assert response.status == 200, name
            # Nobody has run npm there: the browser is sent to the same version elsewhere.
            url = f"{backend}/socket.io/socket.io.js"
            async with http.get(url, allow_redirects=False) as client:
                assert client.status == 302
        question = ("ask", "Is it whole?", "--url", backend)
        answer = await output_of(*question, env=env)
    assert "You asked: Is it whole?" in answer
