"""What an operator sees: recent questions, and what Redis has of an answer."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import socketio

from backend.protocol.entries import Ending, Entry, Usage
from backend.protocol.record import Record
from backend.protocol.requests import new_question_id
from backend.store.connection import connect
from backend.store.records import question_key
from tests.fakes.command import command, output_of
from tests.fakes.openai_endpoint import OpenAIEndpoint, answer_pieces
from tests.fakes.programs import Program, RedisServer, free_port
from tests.fakes.rig import STREAM, Rig, new_ask

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENDLESS = "[[tokens=100000 interval_ms=10]]"
ENDING = Ending("done", None, "stop", Usage(3, 90, 50), "gpt-6-luna")
TOOK = {"inputTokens": 3, "outputTokens": 90, "reasoningTokens": 50}


@pytest.fixture(scope="module")
def env(redis_of_commands: RedisServer) -> dict[str, str]:
    """All that an operator's commands need."""
    return {"REDIS_URL": redis_of_commands.url}


@pytest_asyncio.fixture(loop_scope="module")
async def client(server: Program) -> AsyncIterator[socketio.AsyncSimpleClient]:
    """Somebody who asks."""
    async with socketio.AsyncSimpleClient() as client:
        await client.connect(server.url, transports=["websocket"])
        yield client


@pytest.fixture
def quiet_env(redis_of_commands: RedisServer) -> dict[str, str]:
    """The same for a Redis without a server and a worker."""
    return {"REDIS_URL": redis_of_commands.url.removesuffix("0") + "4"}


@pytest_asyncio.fixture(loop_scope="module")
async def rig(quiet_env: dict[str, str]) -> AsyncIterator[Rig]:
    """Somebody who writes answers there."""
    async with connect(quiet_env["REDIS_URL"]) as storage:
        yield Rig(storage)


async def thinking(rig: Rig) -> tuple[Record, list[Entry]]:
    """A question whose model has begun to think: its record, and its entries."""
    record = Record.queued(new_ask(), STREAM, "0-0", "token").begun("worker", None)
    await rig.raw.set(question_key(record.question_id), record.to_json())
    thought = Entry(record.question_id, "", 1, 1, reasoning="It is.")
    return record, await rig.write(Entry.start(record.question_id, 1), thought)


async def concluded(rig: Rig, record: Record, entries: list[Entry]) -> None:
    """Answer it, and end the answer."""
    text = Entry(record.question_id, "Because.", 1, 2)
    entries += await rig.write(text, Entry.end(record.question_id, 1, 3, ENDING))
    await rig.closed(record, entries, ending=ENDING)


async def ask(client: socketio.AsyncSimpleClient, question: str, topic: str = "Redis") -> str:
    """Ask a question; returns its id once it is accepted."""
    payload = {"topic": topic, "topicQuestion": question, "questionId": new_question_id()}
    assert (await client.call("askQuestion", payload))["ok"]
    return payload["questionId"]


async def ended(client: socketio.AsyncSimpleClient, question_id: str) -> dict[str, Any]:
    """Wait for the END of an answer; returns its meta."""
    async with asyncio.timeout(20):
        while True:
            _, _, meta = await client.receive()
            if meta["questionId"] == question_id and "status" in meta:
                found: dict[str, Any] = meta
                return found


async def listed(*options: str, env: dict[str, str]) -> list[dict[str, Any]]:
    """The questions in a list."""
    lines = await output_of("questions", "--json", *options, env=env)
    return [json.loads(line) for line in lines.splitlines()]


async def test_an_answer_is_read_again(
    client: socketio.AsyncSimpleClient, model: OpenAIEndpoint, env: dict[str, str]
) -> None:
    """`replay` prints the answer to the byte, and how it ended beside it."""
    question_id = await ask(client, "What is kept?")
    await ended(client, question_id)
    async with command("replay", question_id, env=env) as replayed:
        assert await replayed.ended() == 0
    assert (replayed.out, replayed.err) == (model.answer_to("What is kept?"), "done\n")
    told = json.loads(await output_of("replay", question_id, "--json", env=env))
    assert (told["text"], told["status"]) == (model.answer_to("What is kept?"), "done")
    assert told["questionId"] == question_id


@pytest.mark.parametrize(("options", "thought"), [([], "It is.\n"), (["--no-reasoning"], "")])
async def test_thought_is_read_again(
    rig: Rig, quiet_env: dict[str, str], options: list[str], thought: str
) -> None:
    """What the model thought stands on standard error, unless it is not wanted."""
    record, entries = await thinking(rig)
    await concluded(rig, record, entries)
    async with command("replay", record.question_id, *options, env=quiet_env) as replayed:
        assert await replayed.ended() == 0
    assert (replayed.out, replayed.err) == ("Because.", f"{thought}done\n")


async def test_a_replay_in_json(rig: Rig, quiet_env: dict[str, str]) -> None:
    """The object has the thought, the tokens and the model's name; before the end it has none."""
    record, entries = await thinking(rig)
    arguments = ("replay", record.question_id, "--json")
    before = json.loads(await output_of(*arguments, env=quiet_env))
    assert (before["text"], before["reasoning"]) == ("", "It is.")
    assert (before["usage"], before["model"]) == (None, None)
    await concluded(rig, record, entries)
    object_ = json.loads(await output_of(*arguments, env=quiet_env))
    assert (object_["text"], object_["reasoning"]) == ("Because.", "It is.")
    assert (object_["usage"], object_["model"]) == (TOOK, "gpt-6-luna")


async def test_thought_is_followed(rig: Rig, quiet_env: dict[str, str]) -> None:
    """With --follow it is shown while the model thinks, and the answer behind it."""
    record, entries = await thinking(rig)
    async with command("replay", record.question_id, "--follow", env=quiet_env) as following:
        await following.said("It is.", "err")
        await concluded(rig, record, entries)
        assert await following.ended() == 0
    assert (following.out, following.err) == ("Because.", "It is.\ndone\n")


async def test_what_answers_took_is_listed(rig: Rig, quiet_env: dict[str, str]) -> None:
    """`questions --json` tells tokens and model where they are known, and null where not."""
    unknown, _ = await thinking(rig)
    known, entries = await thinking(rig)
    await concluded(rig, known, entries)
    told = {each["questionId"]: each for each in await listed(env=quiet_env)}
    assert [told[known.question_id][name] for name in ("usage", "model")] == [TOOK, "gpt-6-luna"]
    assert [told[unknown.question_id][name] for name in ("usage", "model")] == [None, None]


async def test_a_failure_is_read_again(
    client: socketio.AsyncSimpleClient, env: dict[str, str]
) -> None:
    """What was said before the model failed is printed, and why it failed."""
    question = "What is left? [[fault=cut_after:5]]"
    question_id = await ask(client, question)
    await ended(client, question_id)
    async with command("replay", question_id, env=env) as replayed:
        assert await replayed.ended() == 0
    assert replayed.out == "".join(answer_pieces(question, 5))
    assert replayed.err == "failed (model_error)\n"


async def test_an_answer_under_way(
    client: socketio.AsyncSimpleClient, model: OpenAIEndpoint, env: dict[str, str]
) -> None:
    """`replay` prints what there is; with --follow it waits for the rest, and stops nothing."""
    question = f"What is there so far? {ENDLESS}"
    everything = "".join(answer_pieces(question, 5_000))
    question_id = await ask(client, question)
    await model.wait_sent(question, 20)
    async with command("replay", question_id, env=env) as snapshot:
        assert await snapshot.ended() == 0
    assert snapshot.out
    assert everything.startswith(snapshot.out)
    assert snapshot.err == "running\n"
    async with (
        command("replay", question_id, "--follow", env=env) as following,
        command("replay", question_id, "--follow", env=env) as bored,
    ):
        for each in (following, bored):
            await each.said(answer_pieces(question, 30)[-1])
        bored.interrupt()
        assert await bored.ended() == 130
        assert model.requests_for(question)[0].open
        assert (await client.call("stopQuestion", {"questionId": question_id}))["ok"]
        assert await following.ended() == 0
    assert everything.startswith(following.out)
    assert following.err == "stopped\n"


async def test_nothing_is_stored(env: dict[str, str]) -> None:
    """An id that stands for nothing is exit code 1."""
    async with command("replay", new_question_id(), env=env) as replayed:
        assert await replayed.ended() == 1
    assert "not stored" in replayed.err


@pytest.mark.parametrize("arguments", [["replay", "17"], ["questions", "--limit", "0"]])
async def test_wrong_arguments(arguments: list[str], env: dict[str, str]) -> None:
    """What is no id, or no number, is exit code 2."""
    await output_of(*arguments, status=2, env=env)


@pytest.mark.parametrize("arguments", [["replay", new_question_id()], ["questions"]])
async def test_no_redis(arguments: list[str]) -> None:
    """Without REDIS_URL it is exit code 2; where no Redis answers, 4."""
    await output_of(*arguments, status=2)
    env = {"REDIS_URL": f"redis://:pass-word@127.0.0.1:{free_port()}"}
    async with command(*arguments, env=env) as asked:
        assert await asked.ended() == 4
    assert "REDIS_URL" in asked.err
    assert "pass-word" not in asked.err


async def test_questions_are_listed(
    client: socketio.AsyncSimpleClient, model: OpenAIEndpoint, env: dict[str, str]
) -> None:
    """Newest first, with their state; nobody's words are among it."""
    done = await ask(client, "Who is listed first?", topic="Zanzibar")
    await ended(client, done)
    question = f"Who is listed second? {ENDLESS}"
    running = await ask(client, question, topic="Zanzibar")
    await model.wait_sent(question, 3)
    table = await output_of("questions", env=env)
    heading, second, first, *_ = table.splitlines()
    assert heading.split() == ["ID", "STATUS", "ATTEMPT", "AGE", "TOOK", "WHY"]
    assert re.fullmatch(rf"{running} +running +1 +[\d.]+s +- +-", second)
    assert re.fullmatch(rf"{done} +done +1 +[\d.]+s +[\d.]+s +stop", first)
    assert "Zanzibar" not in table
    assert "listed" not in table
    (told,) = await listed("--status", "running", env=env)
    assert (told["questionId"], told["status"], told["attempt"]) == (running, "running", 1)
    assert (await listed("--limit", "1", env=env)) == [told]
    assert not {"topic", "topicQuestion"} & told.keys()
    assert (await client.call("stopQuestion", {"questionId": running}))["ok"]


async def test_words_are_shown_where_they_are_wanted(
    client: socketio.AsyncSimpleClient, env: dict[str, str]
) -> None:
    """--words adds them, on one line, and without what controls a terminal."""
    words = "Who\nbeeps?\x9b31m " + "long " * 50
    await ended(client, await ask(client, words, topic="Zanzibar"))
    _, line, *_ = (await output_of("questions", "--words", "--limit", "1", env=env)).splitlines()
    assert "Zanzibar: Who beeps?31m long" in line
    assert line.endswith("…")
    (told,) = await listed("--words", "--limit", "1", env=env)
    assert (told["topic"], told["topicQuestion"]) == ("Zanzibar", words)
