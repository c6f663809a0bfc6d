"""`ask`, as people and scripts run it, against the real program."""

import asyncio
import json
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import jwt
import pytest
import socketio
from aiohttp import web

from tests.fakes.command import Command, command, output_of
from tests.fakes.fake_backend import FakeBackend
from tests.fakes.openai_endpoint import OpenAIEndpoint, answer_pieces, piece_count
from tests.fakes.programs import Program, free_port, program
from tests.fakes.proxy import Proxy

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENDLESS = "[[tokens=100000 interval_ms=10]]"


def piece(question: str, number: int) -> str:
    """The piece of an answer with this number, from 0 on."""
    return answer_pieces(question, number + 1)[-1]


@asynccontextmanager
async def ask(url: str, question: str, *options: str, **rest: Any) -> AsyncIterator[Command]:
    """Run `ask`."""
    async with command("ask", question, "--url", url, *options, **rest) as started:
        yield started


@asynccontextmanager
async def told(*options: str, **rest: Any) -> AsyncIterator[tuple[FakeBackend, Command]]:
    """Run `ask` against a backend that has heard the question and has begun to answer."""
    backend = FakeBackend()
    async with backend.serving(), ask(backend.url, "Why?", *options, **rest) as asked:
        await backend.heard("askQuestion")
        await backend.start()
        yield backend, asked


# What it prints


async def test_the_answer_is_all_that_standard_output_gets(
    server: Program, model: OpenAIEndpoint
) -> None:
    """The answer arrives to the byte, its id stands beside it, and the exit code is 0."""
    async with ask(server.url, "What is printed?") as asked:
        assert await asked.ended() == 0
    assert asked.out == model.answer_to("What is printed?")
    assert re.fullmatch(r"Question [0-9a-f-]{36} is accepted\n", asked.err)


async def test_words_are_printed_as_they_come(server: Program, model: OpenAIEndpoint) -> None:
    """Whoever reads the output has the first words while the model still speaks."""
    question = f"Is it printed at once? {ENDLESS}"
    async with ask(server.url, question) as asked:
        await asked.said(piece(question, 3))
        assert model.requests_for(question)[0].open


async def test_without_a_stream(server: Program, model: OpenAIEndpoint) -> None:
    """--no-stream prints the same bytes, all at once."""
    async with ask(server.url, "And in one piece?", "--no-stream") as asked:
        assert await asked.ended() == 0
    assert (asked.out, asked.err) == (model.answer_to("And in one piece?"), "")


@pytest.mark.parametrize("options", [[], ["--no-stream"]])
async def test_json(server: Program, model: OpenAIEndpoint, options: list[str]) -> None:
    """--json prints one object in the end, streamed or not."""
    async with ask(server.url, "As JSON?", "--json", *options) as asked:
        assert await asked.ended() == 0
    (line,) = asked.out.splitlines()
    told = json.loads(line)
    assert told["text"] == model.answer_to("As JSON?")
    assert (told["status"], told["error"]) == ("done", None)
    assert re.fullmatch(r"[0-9a-f-]{36}", told["questionId"])
    assert told["totalMs"] >= (told["firstPieceMs"] or 0) >= 0
    assert told["attempt"] == (0 if options else 1)


async def test_the_question_may_come_from_standard_input(
    server: Program, model: OpenAIEndpoint
) -> None:
    """`-` reads it there, without the line break that `echo` leaves."""
    question = "First line?\nSecond line, with ümlauts?"
    async with ask(server.url, "-", "--topic", "Pipes", stdin=f"{question}\n".encode()) as asked:
        assert await asked.ended() == 0
    assert asked.out == model.answer_to(question)
    assert "Pipes" in json.dumps(model.requests_for(question)[0].body["messages"])


async def test_a_terminal_gets_no_control_characters(server: Program) -> None:
    """On a terminal nothing of a model's words can move the cursor; the prompt has its line."""
    ours, theirs = pty.openpty()
    try:
        async with ask(server.url, "What can it do to me?", stdout=theirs) as asked:
            assert await asked.ended() == 0
        shown = os.read(ours, 65_536).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert shown.endswith("\r\n")
    # The terminal itself makes \r\n of \n; the model's own \r has gone.
    assert "\r" not in shown.replace("\r\n", "\n")


async def test_it_starts_without_what_a_server_needs() -> None:
    """A client imports neither LangChain nor what talks to Redis."""
    code = (
        "import sys, backend.cli.asking;"
        "print([name for name in ('langchain_core', 'openai', 'fakeredis',"
        " 'backend.store.connection', 'backend.app') if name in sys.modules])"
    )
    run = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=subprocess.PIPE)
    assert (await run.communicate())[0] == b"[]\n"


async def test_it_needs_no_settings(server: Program) -> None:
    """What a server would refuse to start with is none of a client's business."""
    env = {"PORT": "nonsense", "REDIS_URL": "nonsense", "BACKEND_URL": f"{server.url}/"}
    assert await output_of("ask", "Do you need settings?", env=env)


# What a model thinks


async def test_thought_stands_on_standard_error() -> None:
    """The answer alone goes to standard output; what is thought stands beside it, plain."""
    async with told() as (backend, asked):
        await backend.think("Is it? ", "It is.\x1b[31m")
        await asked.said("It is.", "err")
        await backend.say("Because.")
        await backend.end()
        assert await asked.ended() == 0
    assert asked.out == "Because."
    assert asked.err == f"Question {backend.question_id} is accepted\nIs it? It is.[31m\n"


async def test_thought_is_dimmed_on_a_terminal() -> None:
    """On a terminal the answer begins on a line of its own below the dimmed thought."""
    ours, theirs = pty.openpty()
    try:
        env = {"TERM": "xterm", "NO_COLOR": ""}
        async with told(stdout=theirs, stderr=theirs, env=env) as (backend, asked):
            await backend.think("It is.")
            await backend.say("Because.")
            await backend.end()
            assert await asked.ended() == 0
        shown = os.read(ours, 65_536).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    _, _, behind = shown.partition("is accepted\r\n")
    assert behind == "\x1b[2mIt is.\x1b[0m\r\nBecause.\r\n"


async def test_thought_may_be_hidden() -> None:
    """With --no-reasoning nothing is seen of it."""
    async with told("--no-reasoning") as (backend, asked):
        await backend.think("It is.")
        await backend.say("Because.")
        await backend.end()
        assert await asked.ended() == 0
    assert asked.out == "Because."
    assert asked.err == f"Question {backend.question_id} is accepted\n"


async def test_json_has_the_thought_and_what_it_took() -> None:
    """With --json the thought stands in the object, with tokens and model, and nowhere else."""
    usage = {"inputTokens": 3, "outputTokens": 90, "reasoningTokens": 50}
    async with told("--json") as (backend, asked):
        await backend.think("It is.")
        await backend.say("Because.")
        await backend.end(usage=usage, model="gpt-6-luna")
        assert await asked.ended() == 0
    object_ = json.loads(asked.out)
    assert (object_["text"], object_["reasoning"]) == ("Because.", "It is.")
    assert (object_["usage"], object_["model"]) == (usage, "gpt-6-luna")
    assert asked.err == f"Question {backend.question_id} is accepted\n"


async def test_json_of_a_server_that_tells_nothing() -> None:
    """What is not known is null, and a thought that nobody told of is empty."""
    async with told("--json") as (backend, asked):
        await backend.say("Because.")
        await backend.end()
        assert await asked.ended() == 0
    object_ = json.loads(asked.out)
    assert (object_["reasoning"], object_["usage"], object_["model"]) == ("", None, None)


async def test_a_worker_that_dies_while_the_model_thinks() -> None:
    """The next one thinks anew, which is told; the answer stands alone, and the exit code is 0."""
    async with told() as (backend, asked):
        await backend.think("Never")
        await backend.start(attempt=2)
        await backend.think("It is.")
        await backend.say("Because.")
        await backend.end()
        assert await asked.ended() == 0
    assert asked.out == "Because."
    assert "Never\nThe answer broke off; it begins anew (attempt 2)\nIt is.\n" in asked.err


async def test_ctrl_c_while_the_model_thinks() -> None:
    """The answer is stopped, though there is none yet."""
    async with told() as (backend, asked):
        await backend.think("Is it?")
        await asked.said("Is it?", "err")
        asked.interrupt()
        assert await asked.ended() == 130
    assert asked.out == ""
    assert asked.err.endswith("\nStopped.\n")


# How it ends


@pytest.mark.parametrize(
    ("fault", "status", "word"),
    [
        ("cut_after:5", 1, "(model_error, "),
        ("429", 1, "(rate_limited, "),
        ("finish:length", 0, "the model's limit"),
        ("finish:content_filter", 0, "content filter"),
    ],
)
async def test_how_the_model_ended_is_told(
    server: Program, fault: str, status: int, word: str
) -> None:
    """A failure is exit code 1, a cut one is not; either is told in words on standard error."""
    question = f"How does it end? [[fault={fault}]]"
    async with ask(server.url, question) as asked:
        assert await asked.ended() == status
    assert word in asked.err
    assert "".join(answer_pieces(question, 40)).startswith(asked.out)


@pytest.mark.parametrize(
    ("reason", "remark"),
    [
        ("refusal", "The model refused."),
        ("tool_calls", "The model wanted to call a tool, and has none here."),
    ],
)
async def test_an_odd_ending_is_told(reason: str, remark: str) -> None:
    """An answer that is none is exit code 0 all the same, with a line about it."""
    async with told() as (backend, asked):
        await backend.say("No.")
        await backend.end(finishReason=reason)
        assert await asked.ended() == 0
    assert asked.out == "No."
    assert asked.err.splitlines()[1:] == [remark]


@pytest.mark.parametrize(("after_s", "again"), [(20, "; try again in 20 s"), (0, ""), (None, "")])
async def test_when_to_try_again_is_told(after_s: int | None, again: str) -> None:
    """Where the server says how long to wait, the error says it, too."""
    error = {"code": "rate_limited", "message": "No.", "retryable": True, "retryAfterS": after_s}
    async with told() as (backend, asked):
        await backend.end("failed", error=error)
        assert await asked.ended() == 1
    assert asked.err.endswith(f"error: No. (rate_limited, {backend.question_id}{again})\n")


async def test_a_failure_without_a_stream() -> None:
    """The line that a server puts where old pages look for the answer is not printed as one."""
    backend = FakeBackend()
    error = {"code": "model_error", "message": "No.", "retryable": False}
    backend.post_status, backend.posted = 500, {"output": "No.", "error": error}
    async with backend.serving(), ask(backend.url, "Why?", "--no-stream") as asked:
        assert await asked.ended() == 1
    assert asked.out == ""
    assert asked.err.startswith("error: No. (model_error, ")


@pytest.mark.parametrize("options", [[], ["--no-stream"]])
async def test_a_refusal(server: Program, options: list[str]) -> None:
    """A question that the server does not take is exit code 3, and says why."""
    async with ask(server.url, " ", *options) as asked:
        assert await asked.ended() == 3
    assert asked.out == ""
    assert "topicQuestion must not be empty." in asked.err


@pytest.mark.parametrize("options", [[], ["--no-stream"], ["--json"]])
async def test_nobody_there(options: list[str]) -> None:
    """Where no server listens: exit code 4, at once."""
    async with ask(f"http://127.0.0.1:{free_port()}", "Anybody?", *options) as asked:
        assert await asked.ended() == 4
    assert "(unreachable, " in asked.err
    assert bool(asked.out) == (options == ["--json"])


async def test_a_web_server_that_is_no_backend() -> None:
    """Something else that speaks HTTP is exit code 4, too."""
    runner = web.AppRunner(web.Application())
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        await output_of("ask", "Anybody?", "--url", url, status=4)
        await output_of("ask", "Anybody?", "--url", url, "--no-stream", status=4)
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    "options",
    [
        ["--url", "nonsense"],
        ["--url", "ftp://127.0.0.1"],
        ["--token", "two words"],
        ["--timeout", "0"],
        ["--timeout", "long"],
    ],
)
async def test_wrong_arguments(options: list[str]) -> None:
    """What makes no sense is exit code 2 and one line."""
    async with command("ask", "Why?", *options) as asked:
        assert await asked.ended() == 2
    assert asked.err.splitlines()[-1].count("error: ") == 1


async def test_too_long_a_question_on_standard_input() -> None:
    """A file that was piped by mistake is not sent anywhere."""
    async with command("ask", "-", stdin=b"x" * 200_000) as asked:
        assert await asked.ended() == 2
    assert "100000" in asked.err


@pytest.mark.parametrize("options", [[], ["--no-stream"]])
async def test_a_timeout(server: Program, options: list[str]) -> None:
    """Past --timeout it is exit code 5, and what was said stands."""
    question = f"How long? {ENDLESS} {options}"
    async with ask(server.url, question, "--timeout", "1.5", *options) as asked:
        assert await asked.ended() == 5
    assert "(timeout, " in asked.err


async def test_a_reader_that_has_enough(server: Program) -> None:
    """Behind `| head` it ends quietly, as a program does that SIGPIPE has ended."""
    question = f"Who reads on? {ENDLESS}"
    reading, writing = os.pipe()
    async with ask(server.url, question, stdout=writing) as asked:
        os.close(writing)
        await asyncio.to_thread(os.read, reading, 10)
        os.close(reading)
        assert await asked.ended() == 141
    assert asked.err.count("\n") == 1


# Ctrl-C


@pytest.mark.parametrize("options", [[], ["--no-stream"], ["--json"]])
async def test_ctrl_c_stops_the_answer(
    server: Program, model: OpenAIEndpoint, options: list[str]
) -> None:
    """The model's connection is closed, what was said is printed, and the exit code is 130."""
    question = f"Enough? {ENDLESS} {options}"
    async with ask(server.url, question, *options) as asked:
        await model.wait_sent(question, 3)
        asked.interrupt()
        assert await asked.ended() == 130
    assert not (await model.wait_closed(question)).completed
    assert "Stopped.\n" in asked.err
    text = json.loads(asked.out)["text"] if "--json" in options else asked.out
    assert text
    assert "".join(answer_pieces(question, 1_000)).startswith(text)


async def test_a_second_ctrl_c_does_not_wait(server: Program) -> None:
    """While the server does not answer, the second Ctrl-C ends it all the same."""
    question = f"Enough, at once? {ENDLESS}"
    async with Proxy(server.port) as proxy:
        async with ask(f"http://127.0.0.1:{proxy.port}", question) as asked:
            await asked.said(piece(question, 1))
            proxy.stall()
            asked.interrupt()
            await asked.said("Stopping", "err")
            asked.interrupt()
            assert await asked.ended(timeout_s=3) == 130


async def test_somebody_else_may_stop_it(server: Program) -> None:
    """An answer that was stopped from elsewhere is exit code 130, too."""
    question = f"Who stops it? {ENDLESS}"
    async with ask(server.url, question) as asked, socketio.AsyncSimpleClient() as other:
        await asked.said(piece(question, 1))
        (question_id,) = re.findall(r"[0-9a-f-]{36}", asked.err)
        await other.connect(server.url)
        assert (await other.call("stopQuestion", {"questionId": question_id}))["ok"]
        assert await asked.ended() == 130


# What breaks on the way


@pytest.mark.parametrize("times", [1, 3])
async def test_a_lost_connection_costs_nothing(
    server: Program, model: OpenAIEndpoint, times: int
) -> None:
    """However often the connection is cut, every byte is printed once."""
    question = f"Is it whole after {times} cuts? [[tokens=300 interval_ms=10]]"
    async with Proxy(server.port) as proxy:
        async with ask(f"http://127.0.0.1:{proxy.port}", question) as asked:
            for cut in range(times):
                # Over the connection that stands now, not with what had come before.
                await asked.said(piece(question, piece_count(asked.out) + 20))
                proxy.cut()
                await asked.said("trying to go on", "err", times=cut + 1)
            assert await asked.ended() == 0
    assert asked.out == model.answer_to(question)
    assert asked.err.count("trying to go on") == times


async def test_a_server_that_is_away_for_a_while(server: Program, model: OpenAIEndpoint) -> None:
    """Nobody listens for a moment: it tries again until somebody does."""
    question = "Is it whole after a while? [[tokens=100 interval_ms=10]]"
    async with Proxy(server.port) as proxy:
        async with ask(f"http://127.0.0.1:{proxy.port}", question) as asked:
            await asked.said(piece(question, 10))
            await proxy.refuse()
            await asked.said("trying to go on", "err")
            await model.wait_closed(question)
            await proxy.heal()
            assert await asked.ended() == 0
    assert asked.out == model.answer_to(question)


async def test_a_worker_that_dies(stack_env: dict[str, str], model: OpenAIEndpoint) -> None:
    """The answer begins anew: told on standard error, and by exit code 6 where words were piped."""
    question = "Who dies? [[fault=stall_after:20 times=3]]"  # each of the three, at first
    answer = model.answer_to(question)
    env = stack_env | {"REDIS_URL": stack_env["REDIS_URL"].removesuffix("0") + "2"}
    ours, theirs = pty.openpty()
    async with program("--workers", "0", **env) as server, program("worker", **env) as victim:
        await asyncio.gather(server.ready(), victim.printed("waiting"))
        async with (
            ask(server.url, question) as piped,
            ask(server.url, question, "--json") as as_json,
            ask(server.url, question, stdout=theirs) as shown,
        ):
            await model.wait_open(question, 3)
            await piped.said(piece(question, 19))
            victim.process.kill()
            async with program("worker", **env):
                codes = [await each.ended() for each in (piped, as_json, shown)]
    os.close(ours)
    os.close(theirs)
    assert codes == [6, 0, 0]
    for each in (piped, as_json, shown):
        assert "begins anew (attempt 2)" in each.err
    assert piped.out.endswith(answer)
    # The broken attempt ends a line by itself, so nothing stands between.
    assert piped.out.removesuffix(answer) == "".join(answer_pieces(question, 20))
    assert json.loads(as_json.out)["text"] == answer


# Other servers


async def test_a_server_that_wants_a_token(
    stack_env: dict[str, str], model: OpenAIEndpoint
) -> None:
    """The token goes along, from the environment or the command line; a wrong one is refused."""
    key = "a-key-of-32-bytes-that-the-tests-know"
    claims = {"sub": "ada", "exp": time.time() + 600}
    token, wrong = (jwt.encode(claims, each, "HS256") for each in (key, key[::-1]))
    # A worker beside that of the other server could take over what that one has in work.
    redis_url = stack_env["REDIS_URL"].removesuffix("0") + "3"
    async with program(**stack_env | {"REDIS_URL": redis_url}, AUTH_SECRET=key) as server:
        await server.ready()
        for options in ([], ["--no-stream"]):
            arguments = ["ask", "May I?", "--url", server.url, *options]
            for given, env in ([], {"BACKEND_TOKEN": token}), (["--token", token], {}):
                answer = await output_of(*arguments, *given, env=env)
                assert answer == model.answer_to("May I?")
            async with command(*arguments, "--token", wrong) as refused:
                assert await refused.ended() == 3
            assert "(unauthorized, " in refused.err
            assert wrong not in refused.err
