"""The command line: what it says, what it refuses, and how its processes start and end."""

import asyncio
import json
import re
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil  # type: ignore[import-untyped]  # it ships no types
import pytest
from aiohttp import ClientSession, ClientWebSocketResponse

from tests.fakes.openai_endpoint import OpenAIEndpoint
from tests.fakes.programs import TESTS, Program, RedisServer, free_port, program

ENDLESS = "Does it end? [[tokens=100000 interval_ms=20]]"
PATIENCE_S = 10.0


async def refused(*arguments: str, directory: str | Path = TESTS, **env: str) -> str:
    """Run the program, which has to refuse to start: status 2 and no traceback."""
    async with program(*arguments, directory=directory, **env) as started:
        assert await started.ended() == 2
    assert "Traceback" not in started.log
    return started.log


def settings_for(redis: RedisServer, endpoint: OpenAIEndpoint) -> dict[str, str]:
    """What has to be set for the real thing."""
    return {
        "REDIS_URL": redis.url,
        "OPENAI_API_KEY": "sk-test",
        "OPENAI_BASE_URL": endpoint.url,
    }


async def post(server: Program, question: str) -> tuple[int, Any]:
    """Ask for an answer in one piece."""
    body = {"topic": "Redis", "topicQuestion": question}
    async with (
        ClientSession() as http,
        http.post(f"{server.url}/askQuestionWithoutStream", json=body) as response,
    ):
        return response.status, await response.json()


@asynccontextmanager
async def websocket(url: str) -> AsyncIterator[ClientWebSocketResponse]:
    """A Socket.IO client over a WebSocket, connected."""
    address = f"{url}/socket.io/?EIO=4&transport=websocket"
    async with ClientSession() as http, http.ws_connect(address) as ws:
        assert (await ws.receive_str()).startswith("0{")
        await ws.send_str("40")
        assert (await ws.receive_str()).startswith("40{")
        yield ws


async def ask(ws: ClientWebSocketResponse, question: str) -> None:
    """Ask for an answer in pieces."""
    event = ["askQuestion", {"topic": "Redis", "topicQuestion": question}]
    await ws.send_str(f"42{json.dumps(event)}")


async def until_closed(ws: ClientWebSocketResponse) -> None:
    """Read until the server closes the connection."""
    async for _ in ws:
        pass


async def hear(ws: ClientWebSocketResponse, words: str) -> None:
    """Read until so much of the answer has come."""
    text = ""
    async with asyncio.timeout(PATIENCE_S):
        while words not in text:
            packet = await ws.receive_str()
            text += json.loads(packet[2:])[1] if packet.startswith('42["chunk"') else ""


@asynccontextmanager
async def polling(url: str) -> AsyncIterator["asyncio.Task[Any]"]:
    """A Socket.IO client that polls; the task is its poll, which waits for something to come."""
    address = f"{url}/socket.io/?EIO=4&transport=polling"
    async with ClientSession() as http:
        async with http.get(address) as response:
            address += f"&sid={json.loads((await response.text())[1:])['sid']}"
        async with http.post(address, data="40") as response:
            assert response.status == 200
        async with http.get(address) as response:
            assert (await response.text()).startswith("40{")
        poll = asyncio.create_task(http.get(address).__aenter__())
        try:
            yield poll
        finally:
            poll.cancel()
            await asyncio.wait({poll})


def assert_clean(server: Program) -> None:
    """Nothing in the log but what belongs there."""
    for bad in ("Traceback", "never retrieved", "was destroyed", "Unclosed", "Warning"):
        assert bad not in server.log, server.log


# What it says


async def test_help_says_how_to_begin() -> None:
    """--help shows the three ways to run it, --demo first of all."""
    async with program("--help") as started:
        assert await started.ended() == 0
    assert re.search(r"backend --demo .*no Redis, no key", started.log)
    assert "backend worker" in started.log
    assert "--workers" in started.log


async def test_version_is_that_of_the_package() -> None:
    """--version is one line."""
    async with program("--version") as started:
        assert await started.ended() == 0
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", started.log)


# What it refuses


@pytest.mark.parametrize("role", ["serve", "worker"])
@pytest.mark.parametrize(
    ("missing", "given"),
    [
        ("OPENAI_API_KEY", {"REDIS_URL": "redis://127.0.0.1"}),
        ("REDIS_URL", {"OPENAI_API_KEY": "sk-test"}),
    ],
)
async def test_names_what_is_missing(role: str, missing: str, given: dict[str, str]) -> None:
    """Without a key or a Redis it says which variable is not set, and points to --demo."""
    log = await refused(role, **given)
    assert f"{missing} is not set" in log
    assert "--demo" in log


@pytest.mark.parametrize("port", ["nonsense", "70000", "-1", "3.5"])
async def test_refuses_a_port_that_is_none(port: str) -> None:
    """A wrong PORT is named."""
    assert "PORT has to be" in await refused("--demo", PORT=port)


async def test_a_wrong_secret_is_not_shown() -> None:
    """An address that may hold a password is refused without being repeated."""
    log = await refused(REDIS_URL="http://:pass-word@host", OPENAI_API_KEY="sk-test")
    assert "REDIS_URL" in log
    assert "pass-word" not in log


@pytest.mark.parametrize("name", ["PORT", "FRONTEND_PORT"])
async def test_a_taken_port_is_told(name: str) -> None:
    """Where somebody else listens already, one line says so."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ports = {"PORT": "0", "FRONTEND_PORT": "0", name: port}
        log = await refused("--demo", "--host", "127.0.0.1", **ports)
    assert "address already in use" in log
    assert port in log


async def test_the_demo_has_no_worker_elsewhere() -> None:
    """--demo with the role of a worker makes no sense, and is refused in words."""
    assert "--demo" in await refused("worker", "--demo")


# .env


async def test_dotenv_is_read(
    redis_server: RedisServer, endpoint: OpenAIEndpoint, tmp_path: Path
) -> None:
    """A file named .env in the working directory is enough, and needs no variable besides."""
    env = settings_for(redis_server, endpoint) | {"OPENAI_MODEL": "model-of-the-file"}
    lines = "".join(f"{name}={value}\n" for name, value in env.items())
    (tmp_path / ".env").write_text(lines, "utf-8")
    async with program(directory=tmp_path) as server:
        await server.ready()
        assert (await post(server, "Who sets it?"))[0] == 200
    (request,) = endpoint.requests
    assert request.body["model"] == "model-of-the-file"
    assert request.headers["Authorization"] == "Bearer sk-test"


async def test_the_environment_wins_over_dotenv(tmp_path: Path) -> None:
    """What stands in both is taken from the environment."""
    (tmp_path / ".env").write_text("LEASE_S=of-the-file\n", "utf-8")
    assert "of-the-file" in await refused("--demo", directory=tmp_path)
    log = await refused("--demo", directory=tmp_path, LEASE_S="of-the-environment")
    assert "of-the-environment" in log


async def test_the_command_line_wins_over_the_environment() -> None:
    """--port is taken before PORT."""
    assert "from-the-command-line" in await refused("--demo", "--port", "from-the-command-line")


# The demo


async def test_the_demo_needs_nothing(tmp_path: Path) -> None:
    """With an empty environment, in an empty directory: it says what is embedded, and answers."""
    options = ("--demo", "--port", "0", "--frontend-port", "0")
    async with program(*options, directory=tmp_path, SHUTDOWN_GRACE_S="0") as demo:
        await demo.printed("<- open this")
        assert "Embedded: a Redis" in demo.log
        assert "offline model" in demo.log
        backend, page = re.findall(r"(?:Backend|Page): +(http://127\.0\.0\.1:\d+)", demo.log)
        async with ClientSession() as http, http.get(page) as response:
            assert backend.rpartition(":")[2] in await response.text()
        async with websocket(backend) as ws:
            await ask(ws, "Is anybody there?")
            await hear(ws, "You asked: Is anybody there?")
        demo.signal(signal.SIGTERM)
        await demo.ended()
    assert_clean(demo)


async def test_the_demo_listens_where_it_is_told() -> None:
    """The ports that were chosen are the ones that are printed."""
    port, frontend_port = str(free_port()), str(free_port())
    async with program("--demo", "--port", port, "--frontend-port", frontend_port) as demo:
        await demo.printed("<- open this")
        assert f"Backend: http://127.0.0.1:{port}\n" in demo.log
        assert f"Page:    http://127.0.0.1:{frontend_port} " in demo.log


# How it ends


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_soon(
    redis_server: RedisServer, endpoint: OpenAIEndpoint, number: signal.Signals
) -> None:
    """With clients of both kinds and an answer at work: status 0 within 3 s, and a clean log."""
    env = settings_for(redis_server, endpoint) | {"SHUTDOWN_GRACE_S": "1"}
    async with program(**env) as server:
        await server.ready()
        async with websocket(server.url) as ws, polling(server.url) as poll:
            await ask(ws, ENDLESS)
            await endpoint.wait_sent(ENDLESS, 3)
            listening = asyncio.create_task(until_closed(ws))
            server.signal(number)
            assert await server.ended(timeout_s=3) == 0
            await asyncio.wait({listening, poll}, timeout=PATIENCE_S)
            assert listening.done()
            assert poll.done()
    assert ws.close_code == aiohttp.WSCloseCode.GOING_AWAY
    assert_clean(server)
    assert not (await endpoint.wait_closed(ENDLESS)).completed


async def test_an_idle_server_ends_at_once(
    redis_server: RedisServer, endpoint: OpenAIEndpoint
) -> None:
    """With nobody there and nothing at work the grace is not waited for."""
    env = settings_for(redis_server, endpoint) | {"SHUTDOWN_GRACE_S": "60"}
    async with program(**env) as server:
        await server.ready()
        # An end waits for the import of LangChain, which an answer shows to be over.
        assert (await post(server, "Is it loaded?"))[0] == 200
        server.signal(signal.SIGTERM)
        assert await server.ended(timeout_s=3) == 0
    assert_clean(server)


async def test_a_second_signal_does_not_wait(
    redis_server: RedisServer, endpoint: OpenAIEndpoint
) -> None:
    """Whoever presses Ctrl-C twice does not want to wait for answers."""
    env = settings_for(redis_server, endpoint) | {"SHUTDOWN_GRACE_S": "60"}
    async with program(**env) as server, ClientSession() as http:
        await server.ready()
        async with websocket(server.url) as ws:
            await ask(ws, ENDLESS)
            await endpoint.wait_sent(ENDLESS, 3)
            server.signal(signal.SIGINT)
            async with asyncio.timeout(PATIENCE_S):
                while (await http.get(f"{server.url}/readyz")).status != 503:
                    pass
            server.signal(signal.SIGINT)
            assert await server.ended(timeout_s=3) == 130


# Workers


async def test_a_worker_alone_answers(redis_server: RedisServer, endpoint: OpenAIEndpoint) -> None:
    """A server without workers, and without a key, is answered for by a worker elsewhere."""
    env = settings_for(redis_server, endpoint)
    async with program("--workers", "0", REDIS_URL=redis_server.url) as server:
        await server.ready()
        async with program("worker", **env) as worker:
            await worker.printed("Worker:  waiting for questions")
            answer = await post(server, "Who answers?")
            assert answer == (200, {"output": endpoint.answer_to("Who answers?")})
            worker.signal(signal.SIGTERM)
            assert await worker.ended(timeout_s=3) == 0
    assert_clean(worker)
    assert_clean(server)


async def test_workers_beside_a_server_end_with_it(
    redis_server: RedisServer, endpoint: OpenAIEndpoint
) -> None:
    """--workers starts processes that answer, and none of them outlives the server."""
    async with program("--workers", "2", **settings_for(redis_server, endpoint)) as server:
        await server.ready()
        answer = await post(server, "Who answers?")
        assert answer == (200, {"output": endpoint.answer_to("Who answers?")})
        workers = psutil.Process(server.process.pid).children(recursive=True)
        assert len(workers) == 2
        server.signal(signal.SIGTERM)
        assert await server.ended(timeout_s=5) == 0
    assert not any(worker.is_running() for worker in workers)
    assert_clean(server)
