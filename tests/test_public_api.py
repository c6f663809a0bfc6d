"""What other programs import from `backend`, and the example of backend/README.md at work."""

import ast
import asyncio
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import pytest

import backend
from backend import Chain, Settings
from tests.fakes.chains import STOP, FakeChain
from tests.fakes.programs import ROOT, RedisServer, free_port

PATIENCE_S = 20.0  # all that is waited for comes soon; this is for machines under load
DOCUMENT = Path(backend.__file__).parent / "README.md"
ASK = "/askQuestionWithoutStream"
QUESTION = {"topic": "Redis", "topicQuestion": "What is a stream?"}


def imported_by_type_checkers() -> set[str]:
    """The names that the package imports for type checkers alone."""
    tree = ast.parse(Path(backend.__file__).read_text("utf-8"))
    (block,) = (
        node
        for node in tree.body
        if isinstance(node, ast.If) and not node.orelse and isinstance(node.test, ast.Name)
    )
    return {
        alias.asname or alias.name
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_every_public_name_is_there() -> None:
    """What is promised can be imported; type checkers see the same names."""
    names = set(backend.__all__)
    assert names == imported_by_type_checkers()
    assert {"create_app", "drain", "Settings", "Chain", "ModelChain", "Identity"} <= names
    for name in names:
        assert getattr(backend, name).__name__ == name


def test_other_names_are_not() -> None:
    """A name that does not exist fails as in any module."""
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        backend.nothing  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(ImportError):
        from backend import nothing  # type: ignore[attr-defined]  # noqa: F401


@pytest.mark.parametrize(
    ("names", "absent"),
    [
        ("Settings", {"aiohttp", "redis", "langchain_core"}),
        ("Chain, Finish, Reasoning, Usage, ModelFailure", {"aiohttp", "redis", "langchain_core"}),
        ("create_app, drain, Identity, Visitor, Unauthorized", {"langchain_core"}),
    ],
)
def test_only_what_is_used_is_loaded(names: str, absent: set[str]) -> None:
    """Settings load no server, and a server loads no LangChain."""
    look = f"import sys; from backend import {names}; print(*{absent} & set(sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout.strip() == ""


# The example


@pytest.fixture
def example(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program of the document, as it stands there, set up for a free port of this machine."""
    (source,) = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text("utf-8"), re.M | re.S)
    module = ModuleType("my_server")
    exec(compile(source, str(DOCUMENT), "exec"), module.__dict__)  # noqa: S102  our own document
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    monkeypatch.setenv("HOST", "127.0.0.1")
    monkeypatch.setenv("PORT", str(free_port()))
    return module


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the example."""
    async with aiohttp.ClientSession() as http:
        yield http


async def tells(status: int, http: aiohttp.ClientSession, url: str) -> None:
    """Wait until `/readyz` tells this status."""
    while await readiness(http, url) != status:
        pass


async def readiness(http: aiohttp.ClientSession, url: str) -> int:
    """The status that `/readyz` tells; 0 where nobody listens."""
    try:
        async with http.get(f"{url}/readyz") as response:
            return response.status
    except aiohttp.ClientConnectorError:
        return 0


async def asked(http: aiohttp.ClientSession, url: str) -> Any:
    """Ask a question; returns the reply."""
    async with http.post(f"{url}{ASK}", json=QUESTION) as response:
        return await response.json()


async def test_the_example_drains(
    example: ModuleType, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At SIGTERM it takes no more questions, finishes the running answer, and leaves no task."""
    finish = asyncio.Event()
    chain = FakeChain("One,", finish, " two.", STOP)

    async def load_chain(settings: Settings) -> Chain:
        return chain

    monkeypatch.setattr(example, "load_chain", load_chain)
    url = f"http://127.0.0.1:{Settings.from_env(example.os.environ).port}"
    before = asyncio.all_tasks()
    async with asyncio.timeout(PATIENCE_S):
        serving = asyncio.create_task(example.main())
        await tells(200, http, url)
        answer = asyncio.create_task(asked(http, url))
        while not chain.asked:
            async with http.get(f"{url}/healthz"):  # a round trip: the worker gets its turn
                pass
        signal.raise_signal(signal.SIGTERM)
        await tells(503, http, url)
        refused = await asked(http, url)
        assert refused["error"]["code"] == "busy"
        assert not serving.done()
        finish.set()
        assert await answer == {"output": "One, two."}
        await serving
        assert await readiness(http, url) == 0
    left = [task for task in asyncio.all_tasks() - before if "aiohttp" not in repr(task)]
    assert left == []


async def test_the_example_answers_with_its_model(
    example: ModuleType, http: aiohttp.ClientSession
) -> None:
    """Its own model answers; a signal before any question ends it at once."""
    url = f"http://127.0.0.1:{Settings.from_env(example.os.environ).port}"
    async with asyncio.timeout(PATIENCE_S):
        serving = asyncio.create_task(example.main())
        await tells(200, http, url)
        assert await asked(http, url) == {"output": "A stream is an append-only log."}
        signal.raise_signal(signal.SIGTERM)
        await serving


def test_the_version_is_that_of_the_package() -> None:
    """What the program says of itself is what pyproject.toml says."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert backend.__version__ == project["version"]
