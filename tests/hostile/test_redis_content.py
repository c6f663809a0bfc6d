"""Other programs write to our keys: what they spoil is lost, and nothing beside it."""

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.fakes.client import Answer, Refused
from tests.faults.stack import Stack, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

DEEP = "[" * 100_000
LONG = "x" * 1_000_000
DEAD = {"status": "running", "attempt": 1, "owner": "a dead worker"}

RECORDS: dict[str, dict[str, Any] | str] = {
    "no JSON": "garbage",
    "deep JSON": DEEP,
    "a number": "1",
    "a list": "[[]]",
    "nothing in it": "{}",
    "no cursor": {"cursor": "garbage"},
    "long cursor": {"cursor": "9" * 4_000 + "-0"},
    "negative attempt": {"attempt": -5},
    "endless attempt": {"attempt": 10**300},
    "attempt of text": {"attempt": "1"},
    "negative lapses": {"lapses": -1},
    "status of its own": {"status": "nonsense"},
    "somebody else's": {"questionId": "another"},
    "reason of no text": {"finishReason": {"a": 1}},
    "error of no shape": {"error": {"message": DEEP[:100]}},
    "stream of the wrong kind": {"streamName": "a-string"},
}
ENTRIES: dict[str, dict[Any, Any]] = {
    "no fields of ours": {"x": "y"},
    "text alone": {"chunkOutput": "x"},
    "an attempt of no number": {"attempt": "x", "chunkOutput": "x", "number": "1"},
    "an error that is deep": {
        "attempt": "0", "chunkOutput": "x", "number": "1", "status": "done", "error": DEEP,
    },
    "an end of no kind": {"attempt": "1", "chunkOutput": "x", "number": "1", "status": "nonsense"},
    "usage of no shape": {
        "attempt": "1", "chunkOutput": "x", "number": "1", "status": "done", "usage": "[",
    },
    "no text at all": {b"\xff": b"\xfe", b"chunkOutput": b"\xff"},
    "much of it": {"attempt": "0", "chunkOutput": LONG, "number": "-1"},
}  # fmt: skip


def record(question_id: str, **changes: Any) -> str:
    """A record as we write it, but for these values."""
    values = {
        "topic": "Redis", "topicQuestion": "Who has spoilt it?", "questionId": question_id,
        "streamName": "OPENAI_STREAM", "delivery": "token",
    }  # fmt: skip
    return json.dumps(values | changes)


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def empty_queue(stack: Stack) -> AsyncIterator[None]:
    """No question is tried again and again in the end."""
    yield

    async def empty() -> bool:
        return not await stack.store.xlen("OPENAI_QUESTIONS")

    await until(empty)


async def queue(stack: Stack, question_id: str) -> None:
    """Queue a question as a server does."""
    fields = {"questionId": question_id, "delivery": "token"}
    await stack.store.xadd("OPENAI_QUESTIONS", fields)


async def expires(stack: Stack, question_id: str) -> None:
    """Whoever wants to read this is told that it is gone."""
    person = await stack.person()
    try:
        answer = await person.resume(question_id)
        await answer.ended()
        code = (answer.error or {})["code"]
    except Refused as exc:
        code = exc.code
    assert code == "expired"


async def test_entries_of_the_queue(stack: Stack) -> None:
    """What is no question is taken off the queue, however it looks."""
    for fields in (
        {"x": "y"},
        {"questionId": ""},
        {"questionId": "../../etc/passwd"},
        {"questionId": LONG, "delivery": LONG},
        {"questionId": "a\nb\x00\u2028"},
    ):
        await stack.store.xadd("OPENAI_QUESTIONS", fields)
    await stack.store.xadd("OPENAI_QUESTIONS", {b"\xff": b"\xfe", b"questionId": b"\xff"})


async def test_wishes_to_stop(stack: Stack) -> None:
    """What is no wish to stop stops nothing."""
    answer = await (await stack.person()).ask("Am I stopped? [[interval_ms=20]]")
    for fields in ({"x": "y"}, {"questionId": ""}, {"questionId": LONG}, {"questionId": "*"}):
        await stack.store.xadd("OPENAI_STOPS", fields)
    await stack.whole(answer)


@pytest.mark.parametrize("value", RECORDS.values(), ids=RECORDS)
async def test_a_record(stack: Stack, value: dict[str, Any] | str) -> None:
    """A record that is none is a question that nobody has asked."""
    question_id = str(uuid.uuid4())
    await stack.store.set("a-string", "of another program")
    spoilt = value if isinstance(value, str) else record(question_id, **value)
    await stack.store.set(f"questions:{question_id}", spoilt)
    await queue(stack, question_id)
    await expires(stack, question_id)


async def test_a_record_of_another_kind(stack: Stack) -> None:
    """A record that has become a list costs its own question, and no other its worker."""
    person = await stack.person()
    spoilt = await person.ask("Who is spoilt? [[interval_ms=50 tokens=40]]")
    beside = await person.ask("Who is beside? [[interval_ms=50 tokens=40]]")
    await asyncio.gather(spoilt.received(2), beside.received(2))
    await stack.store.delete(f"questions:{spoilt.question_id}")
    await stack.store.lpush(f"questions:{spoilt.question_id}", "x")
    await stack.whole(beside)
    assert beside.attempt == 1
    await expires(stack, spoilt.question_id)


async def dead(stack: Stack) -> str:
    """A question whose worker has died; its log is read by the next one."""
    question_id = str(uuid.uuid4())
    await stack.store.set(f"questions:{question_id}", record(question_id, **DEAD))
    return question_id


async def is_answered(stack: Stack, question_id: str) -> None:
    """The question is answered, with every piece."""
    await queue(stack, question_id)
    answer: Answer = await (await stack.person()).resume(question_id, question="Who has spoilt it?")
    await stack.whole(answer)


@pytest.mark.parametrize("fields", ENTRIES.values(), ids=ENTRIES)
async def test_an_entry_in_the_log_of_an_answer(stack: Stack, fields: dict[Any, Any]) -> None:
    """An entry that is none of ours stands in nobody's way, whoever put it there."""
    question_id = await dead(stack)
    await stack.store.xadd(f"answers:{question_id}", {"questionId": question_id, **fields})
    await is_answered(stack, question_id)


async def test_a_log_of_another_kind(stack: Stack) -> None:
    """A log that is none costs its own answer, and stops none of the others of its worker."""
    beside = await (await stack.person()).ask("Who is beside? [[interval_ms=50 tokens=40]]")
    question_id = await dead(stack)
    await stack.store.set(f"answers:{question_id}", "x")
    await queue(stack, question_id)
    await expires(stack, question_id)
    await stack.whole(beside)
    assert beside.attempt == 1


async def test_entries_of_the_stream(stack: Stack) -> None:
    """Entries that are none of ours are passed over, those with our fields as well."""
    question_id = str(uuid.uuid4())
    for fields in (
        {"x": "y"},
        {},
        {"chunkOutput": "x"},
        {"attempt": "x", "chunkOutput": "x", "number": "1"},
        {"attempt": "0", "chunkOutput": LONG, "number": "-1"},
        {"attempt": "0", "chunkOutput": "x", "number": "1", "status": "done", "error": DEEP},
        {"attempt": "1", "chunkOutput": "x", "number": "1", "status": "nonsense"},
    ):
        await stack.store.xadd("OPENAI_STREAM", {"questionId": question_id, **fields})
    await stack.store.set(f"questions:{question_id}", record(question_id))
    await is_answered(stack, question_id)


@pytest.mark.parametrize("key", ["OPENAI_QUESTIONS", "OPENAI_STOPS", "OPENAI_STREAM"])
async def test_a_stream_of_another_kind(stack: Stack, key: str) -> None:
    """A stream that was overwritten costs what stood in it; all goes on once it is gone."""
    await stack.store.set(key, "of another program")
    with contextlib.suppress(Refused):
        await (await stack.person()).ask("Is it there?")
    await stack.store.delete(key)
