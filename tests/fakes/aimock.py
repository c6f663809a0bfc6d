"""`llmock` of the npm package @copilotkit/aimock: models' providers as another team knows them.

One process speaks OpenAI's Chat Completions and Responses, Anthropic's, Gemini's and Ollama's
protocols, and says what aimock_fixtures.json has for the question.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.fakes.programs import START_TIMEOUT_S, TESTS, need

LLMOCK = TESTS / "node_modules" / ".bin" / "llmock"
FIXTURES = Path(__file__).with_name("aimock_fixtures.json")

_LISTENING = re.compile(r"listening on (http://127\.0\.0\.1:\d+)")


def need_aimock() -> str:
    """The path of Node; skips, or fails in CI, where that or the package is missing."""
    node = need("node")
    if not LLMOCK.exists():
        reason = "aimock is not installed: run `npm ci --prefix tests`"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return node


class _Output:
    """What the program prints; its first lines say where it listens."""

    def __init__(self, stream: asyncio.StreamReader) -> None:
        self._stream = stream
        self._lines: list[str] = []
        self.url = asyncio.get_running_loop().create_future()

    async def read(self) -> None:
        """Read on to the end, so that the program never waits for a reader."""
        async for line in self._stream:
            self._lines.append(line.decode())
            if (found := _LISTENING.search(self._lines[-1])) and not self.url.done():
                self.url.set_result(found[1])
        if not self.url.done():
            self.url.set_exception(RuntimeError("".join(self._lines)))


@asynccontextmanager
async def aimock(fixtures: Path = FIXTURES) -> AsyncIterator[str]:
    """Run llmock, and give its address; killed with the block, nothing of it is kept."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AIMOCK_")}
    process = await asyncio.create_subprocess_exec(
        need_aimock(), str(LLMOCK),
        "--port", "0", "--validate-on-load", "--fixtures", str(fixtures),
        env=clean, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout
    output = _Output(process.stdout)
    reader = asyncio.create_task(output.read())
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            url: str = await output.url
        yield url
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reader
