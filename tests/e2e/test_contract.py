"""The contract, followed by hand from both of its sides: a client's, and that of Redis."""

import asyncio
import json
import re
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from backend.store.connection import Client
from tests.fakes.openai_endpoint import OpenAIEndpoint, answer_pieces
from tests.fakes.programs import Program, run_client, talking

pytestmark = pytest.mark.asyncio(loop_scope="module")

SIX_FIELDS = {
    "topic",
    "topicQuestion",
    "questionId",
    "streamName",
    "streamStartMessageId",
    "streamEndMessageId",
}
SLOW = "[[tokens=60 interval_ms=50]]"
ENDLESS = "[[tokens=100000 interval_ms=10]]"


async def ask(server: Program, question: str, topic: str = "Redis") -> str:
    """Ask with a real client, and wait for the END; the id of the question."""
    options = ("--url", server.url, "--topic", topic, "--question", question)
    (answer,) = await run_client("ask.mjs", *options)
    assert answer["status"] == "done"
    return str(answer["questionId"])


async def record_of(redis: Client, question_id: str) -> dict[str, Any]:
    """What stands under `questions:<id>`."""
    raw = await redis.get(f"questions:{question_id}")
    record = json.loads(raw)
    assert isinstance(record, dict)
    return record


async def entries_of(redis: Client, question_id: str) -> list[tuple[str, dict[str, str]]]:
    """The entries of a question in the stream."""
    rows = await redis.xrange("OPENAI_STREAM")
    return [row for row in rows if row[1]["questionId"] == question_id]


async def until(check: Callable[[], Awaitable[bool]]) -> None:
    """Ask Redis until this holds: for what becomes true without a word to anybody."""
    async with asyncio.timeout(5):
        while not await check():
            pass


async def test_an_answer_stands_between_its_labels(server: Program, redis: Client) -> None:
    """Entries have questionId and chunkOutput: first the START, then the pieces, last the END."""
    question = "What stands in the stream?"
    question_id = await ask(server, question)
    entries = await entries_of(redis, question_id)
    first, *pieces, last = [fields["chunkOutput"] for _, fields in entries]
    assert first == f"START:{question_id};<br/>"
    assert "".join(pieces) == "".join(answer_pieces(question, 40))
    assert last == f"<br/>;END:{question_id}"


async def test_pieces_are_not_gathered_while_nothing_else_is_done(
    server: Program, redis: Client
) -> None:
    """On an idle server every piece of the model is an entry of its own."""
    for turn in range(4):  # a machine that has no time for a moment gathers them, too
        question = f"How large is entry {turn}? [[tokens=8 interval_ms=100]]"
        entries = await entries_of(redis, await ask(server, question))
        _, *pieces, _ = [fields["chunkOutput"] for _, fields in entries]
        if pieces == answer_pieces(question, 8):
            return
    pytest.fail("pieces were gathered each time")


async def test_ids_of_entries_are_made_by_redis(server: Program, redis: Client) -> None:
    """An entry's id is the time of Redis at which it was added."""
    began, _ = await redis.time()
    question_id = await ask(server, "Who numbers the entries?")
    ended, _ = await redis.time()
    for entry_id, _ in await entries_of(redis, question_id):
        assert re.fullmatch(r"\d+-\d+", entry_id)
        assert began <= int(entry_id.split("-")[0]) // 1000 <= ended


async def test_a_record_is_a_plain_string_of_json(server: Program, redis: Client) -> None:
    """`questions:<id>` is what SET leaves, with the six fields of the original."""
    question_id = await ask(server, "What is a record?", topic="Valkey")
    assert await redis.type(f"questions:{question_id}") == "string"
    record = await record_of(redis, question_id)
    assert record.keys() >= SIX_FIELDS
    assert (record["topic"], record["topicQuestion"]) == ("Valkey", "What is a record?")
    assert (record["questionId"], record["streamName"]) == (question_id, "OPENAI_STREAM")


async def test_a_record_is_enough_to_read_the_answer(
    server: Program, model: OpenAIEndpoint, redis: Client
) -> None:
    """XRANGE from its first to its last id, filtered by its question, is the answer."""
    questions = ["How is it read again, {n}?".replace("{n}", str(number)) for number in range(3)]
    question_ids = await asyncio.gather(*(ask(server, question) for question in questions))
    for question, question_id in zip(questions, question_ids, strict=True):
        record = await record_of(redis, question_id)
        low, high = record["streamStartMessageId"], record["streamEndMessageId"]
        rows = await redis.xrange(record["streamName"], low, high)
        texts = [fields["chunkOutput"] for _, fields in rows if fields["questionId"] == question_id]
        assert "".join(texts[1:-1]) == model.answer_to(question)


async def test_all_but_the_streams_expires(server: Program, redis: Client) -> None:
    """Every key that is not a stream has a time to live, of a day at most."""
    await ask(server, "What remains?")
    for key in await redis.keys():
        if await redis.type(key) != "stream":
            assert 0 < await redis.ttl(key) <= 86_400


async def test_the_queue_is_empty_afterwards(server: Program, redis: Client) -> None:
    """An answered question leaves nothing in the work queue, and nothing pending."""
    await ask(server, "What is left to do?")

    async def nothing_left() -> bool:
        queued: int = await redis.xlen("OPENAI_QUESTIONS")
        pending: int = (await redis.xpending("OPENAI_QUESTIONS", "OPENAI_WORKERS"))["pending"]
        return queued + pending == 0

    await until(nothing_left)


async def test_braces_are_nothing_but_braces(server: Program, model: OpenAIEndpoint) -> None:
    """The model gets topic and question as they were typed, whatever a template makes of them."""
    topic, question = "{topic} {{0}}", "{question} {0!r} {{}} } { %s $x?"
    await ask(server, question, topic)
    (request,) = model.requests_for(question)
    system, user = request.body["messages"]
    assert topic in system["content"]
    assert user["content"] == question


async def test_one_id_is_one_question(server: Program, model: OpenAIEndpoint) -> None:
    """Asking twice at once with the same id is one run of the model, which both clients read."""
    question = f"Twice? {SLOW}"
    payload = {"topic": "Redis", "topicQuestion": question, "questionId": str(uuid.uuid4())}
    async with talking(server.url) as one, talking(server.url) as other:
        acks = await asyncio.gather(*(talk.call("askQuestion", payload) for talk in (one, other)))
        assert [ack["ok"] for ack in acks] == [True, True]
        for talk in (one, other):
            assert (await talk.ended(payload["questionId"]))["status"] == "done"
            assert talk.text(payload["questionId"]) == model.answer_to(question)
    assert len(model.requests_for(question)) == 1


async def test_an_id_stands_for_one_text(server: Program, model: OpenAIEndpoint) -> None:
    """Another text under a known id is refused, and what is read under that id stays clean."""
    payload = {"topic": "Redis", "topicQuestion": "Mine?", "questionId": str(uuid.uuid4())}
    async with talking(server.url) as talk:
        await talk.call("askQuestion", payload)
        ack = await talk.call("askQuestion", {**payload, "topicQuestion": "Yours?"})
        assert ack["error"]["code"] == "invalid_request"
        assert (await talk.ended(payload["questionId"]))["status"] == "done"
        assert talk.text(payload["questionId"]) == model.answer_to("Mine?")
    assert model.requests_for("Yours?") == []


async def test_a_running_answer_is_resumed_from_its_start(
    server: Program, model: OpenAIEndpoint
) -> None:
    """Another client that knows the id reads all of it, while the first one goes on."""
    question = f"Who reads along? {SLOW}"
    async with talking(server.url) as one, talking(server.url, "--client", "4.0") as other:
        # Refused or not, it is connected then.
        await other.call("stopQuestion", {"questionId": str(uuid.uuid4())})
        ack = await one.call("askQuestion", {"topic": "Redis", "topicQuestion": question})
        question_id = ack["questionId"]
        await one.wait(lambda: len(one.chunks) > 5)
        resumed = await other.call("resumeQuestion", {"questionId": question_id})
        assert (resumed["ok"], resumed["status"]) == (True, "running")
        for talk in (one, other):
            await talk.ended(question_id)
            assert talk.text(question_id) == model.answer_to(question)


async def test_a_disconnect_is_not_a_stop(server: Program, model: OpenAIEndpoint) -> None:
    """An answer goes on alone, and is resumed behind the last entry that was seen."""
    question = f"What happens without me? {SLOW}"
    async with talking(server.url) as before:
        ack = await before.call("askQuestion", {"topic": "Redis", "topicQuestion": question})
        question_id = ack["questionId"]
        await before.wait(lambda: len(before.chunks) > 5)
    async with talking(server.url) as after:
        position = {"questionId": question_id, "after": before.chunks[-1][1]["id"]}
        assert (await after.call("resumeQuestion", position))["ok"]
        await after.ended(question_id)
    assert before.text(question_id) + after.text(question_id) == model.answer_to(question)


async def test_an_ended_answer_is_resumed(server: Program, model: OpenAIEndpoint) -> None:
    """Whoever comes late gets the labels and all the pieces, and is told that it is done."""
    question_id = await ask(server, "Is it still there?")
    async with talking(server.url) as talk:
        ack = await talk.call("resumeQuestion", {"questionId": question_id})
        assert (ack["ok"], ack["status"]) == (True, "done")
        assert (await talk.ended(question_id))["status"] == "done"
        assert talk.text(question_id) == model.answer_to("Is it still there?")
        assert talk.chunks[0][0] == f"START:{question_id};<br/>"
        assert talk.chunks[-1][0] == f"<br/>;END:{question_id}"


async def test_an_unknown_id_is_told(server: Program) -> None:
    """What is not stored cannot be resumed or stopped, and both are told so."""
    async with talking(server.url) as talk:
        for event in ("resumeQuestion", "stopQuestion"):
            ack = await talk.call(event, {"questionId": str(uuid.uuid4())})
            assert (ack["ok"], ack["error"]["code"]) == (False, "expired")
        assert talk.chunks == []


async def test_stop_is_acknowledged_once_the_end_stands(
    server: Program, model: OpenAIEndpoint, redis: Client
) -> None:
    """At the acknowledgement the END is in the stream; the model is let go, what it said stays."""
    question = f"When does it end? {ENDLESS}"
    async with talking(server.url) as talk:
        ack = await talk.call("askQuestion", {"topic": "Redis", "topicQuestion": question})
        question_id = ack["questionId"]
        await talk.said(question_id, answer_pieces(question, 5)[4])
        ack = await talk.call("stopQuestion", {"questionId": question_id})
        *pieces, last = await entries_of(redis, question_id)
        assert (ack["ok"], ack["status"]) == (True, "stopped")
        assert last[1]["chunkOutput"] == f"<br/>;END:{question_id}"
        assert (await talk.ended(question_id))["status"] == "stopped"
        said = "".join(fields["chunkOutput"] for _, fields in pieces[1:])
        assert talk.text(question_id) == said
        assert model.answer_to(question).startswith(said)
    assert not (await model.wait_closed(question)).completed
