"""The backend as a library: the example of its document runs as it stands there."""

import asyncio
import re
import signal
import sys
from pathlib import Path

import aiohttp

from tests.fakes.programs import ROOT, Program, RedisServer, free_port


def example() -> str:
    """The program that the document says to save."""
    document = (ROOT / "backend" / "README.md").read_text("utf-8")
    (found,) = re.findall(r"^```python\n(.*?)^```$", document, re.M | re.S)
    return str(found)


async def test_the_example_answers_and_ends(redis_server: RedisServer, tmp_path: Path) -> None:
    """Given a Redis, a server of one's own answers with one's own model, and ends at SIGTERM."""
    file = tmp_path / "my_server.py"
    file.write_text(example(), "utf-8")
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", str(file),
        cwd=tmp_path,
        env={
            "HOST": "127.0.0.1", "PORT": str(port), "PYTHONPATH": str(ROOT),
            "REDIS_URL": redis_server.url,
        },
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    server = Program(process, port)
    try:
        await server.ready()
        body = {"topic": "Redis", "topicQuestion": "What is a stream?"}
        address = f"{server.url}/askQuestionWithoutStream"
        async with aiohttp.ClientSession() as http, http.post(address, json=body) as response:
            answer = await response.json()
        assert answer == {"output": "A stream is an append-only log."}
        server.signal(signal.SIGTERM)
        assert await server.ended() == 0, server.log
    finally:
        if process.returncode is None:
            process.kill()
            await server.ended()
