"""Two real servers behind a real nginx: both transports, TLS, and restarts that nobody notices."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from tests.fakes.client import Client
from tests.fakes.command import command
from tests.fakes.nginx import Nginx
from tests.fakes.programs import RedisServer, need_clients, run_client
from tests.faults.stack import Stack, stack_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def redis_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The Redis of these servers."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(redis_behind: RedisServer, ports: tuple[int, int]) -> AsyncIterator[Stack]:
    """Two servers on those ports, and two workers."""
    async with stack_of(redis_behind) as stack:
        await asyncio.gather(*(stack.server(PORT=str(port)) for port in ports))
        await stack.have(servers=2, workers=2)
        yield stack
        stack.nothing_odd()


@pytest.mark.parametrize("transports", ["polling", "websocket", "default"])
async def test_clients_get_every_byte(
    stack: Stack, nginx: Nginx, monkeypatch: pytest.MonkeyPatch, transports: str
) -> None:
    """Real clients get their answers through nginx, over either transport and the upgrade."""
    need_clients()
    monkeypatch.setenv("NODE_EXTRA_CA_CERTS", str(nginx.certificate))
    options = ("--url", nginx.url, "--transports", transports, "--count", "4")
    answers = await run_client("ask.mjs", *options, "--question", "Through nginx {n}?")
    for number, answer in enumerate(answers):
        assert answer["text"] == stack.model.answer_to(f"Through nginx {number}?")
        assert (answer["status"], answer["connects"]) == ("done", 1)
    over = "polling" if transports == "polling" else "websocket"
    assert {answer["transport"] for answer in answers} == {over}


async def test_pieces_are_not_held_back(stack: Stack, nginx: Nginx) -> None:
    """The first piece arrives while the model still speaks: nginx gathers nothing."""
    question = "Is anything held back? [[tokens=100000 interval_ms=10]]"
    async with nginx.session() as http, Client(http, nginx.url) as client:
        answer = await client.ask(question)
        await answer.received(5)
        assert stack.model.requests_for(question)[0].open
        assert (await client.stop(answer.question_id))["status"] == "stopped"


async def test_the_command_line_asks_through_nginx(stack: Stack, nginx: Nginx) -> None:
    """`ask` trusts what the system trusts, streams over WebSocket and posts."""
    env = {"SSL_CERT_FILE": str(nginx.certificate), "BACKEND_URL": nginx.url}
    for options in ([], ["--no-stream"]):
        async with command("ask", "Do you trust it?", *options, env=env) as asked:
            assert await asked.ended() == 0
        assert asked.out == stack.model.answer_to("Do you trust it?")


async def test_a_rolling_restart_under_load(
    stack: Stack, nginx: Nginx, ports: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both servers are replaced, one after the other, under people of both kinds: all is whole."""
    need_clients()
    monkeypatch.setenv("NODE_EXTRA_CA_CERTS", str(nginx.certificate))
    speed = "[[tokens=250 interval_ms=20]]"
    polling = asyncio.create_task(
        run_client(
            "ask.mjs", "--url", nginx.url, "--transports", "polling", "--count", "4", "--resume",
            "--question", f"Polling {{n}}? {speed}",
        )
    )  # fmt: skip
    async with nginx.session() as http, AsyncExitStack() as exits:
        people = [await exits.enter_async_context(Client(http, nginx.url)) for _ in range(12)]
        answers = [
            await person.ask(f"Person {number}? {speed}") for number, person in enumerate(people)
        ]
        await asyncio.gather(*(answer.received(10) for answer in answers))
        await stack.model.wait_sent(f"Polling 3? {speed}", 10)
        for port, leaving in zip(ports, list(stack.servers), strict=True):
            stack.terminate(leaving)
            assert await leaving.ended() == 0
            await stack.server(PORT=str(port))
        await stack.whole(*answers)
        assert all(answer.attempt == 1 and answer.starts == 1 for answer in answers)
        assert all(answer.doubled == answer.stale == answer.holes == 0 for answer in answers)
        assert sum(person.connects for person in people) > len(people)
    for number, result in enumerate(await polling):
        assert result["text"] == stack.model.answer_to(f"Polling {number}? {speed}")
        assert (result["status"], result["starts"], result["ends"]) == ("done", 1, 1)
