"""What people write reaches the model as they wrote it, and no log, key or template at all."""

import asyncio
import json
import re
import uuid
from contextlib import aclosing
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from tests.faults.stack import Stack
from tests.hostile.wire import TEXT, event, frame, wired

pytestmark = pytest.mark.asyncio(loop_scope="session")

TEMPLATES = (
    "{topic}", "{question}", "{{", "}}", "{0.__class__.__init__.__globals__}", "{!r:>9999}",
    "{{ 7 * 7 }}", "{% for x in y %}", "${7*7}", "%(topic)s %n %s", "<%= 1 %>", "\\N{BULLET}",
    "{'a': 1}", "$topic", "f'{1/0}'", "[[notes]]", "{topicQuestion}{",
)  # fmt: skip
FORGED = "somebodys-words\r\n9999-01-01 00:00:00,000 ERROR backend \x1b[31msomebodys-words"
IDS: list[Any] = [
    "*", "", " ", "../../etc/passwd", "a\r\nDEL OPENAI_STREAM\r\n", "{tag}", "\x00", FORGED,
    "Q-Q-00000000-0000-4000-8000-000000000000", "00000000-0000-4000-8000-000000000000\n",
    "\N{ARABIC-INDIC DIGIT ZERO}" * 8 + "-0000-4000-8000-000000000000",
    "x" * 100_000, 7, 1e308, True, [], {}, ["a"],
    {"__proto__": {"ok": True}}, {"toString": 1}, "\ud800",
]  # fmt: skip
AFTERS: list[Any] = [
    "$", ">", "+", "-", "0", "-1-1", "0-0-0", "9" * 400 + "-0", "1-", "(1-1", "1-1\n", "*",
    "1e3-0", "\N{ARABIC-INDIC DIGIT ONE}-1", 0, 1.5, [], {}, True,
]  # fmt: skip
UUID = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
KEYS = re.compile(
    rf"questions:(Q-)?{UUID}|answers:(Q-)?{UUID}"
    r"|OPENAI_(STREAM(:USER1)?|QUESTIONS|STOPS)|OPENAI_TAILS:[0-9a-f]{32}"
    r"|OPENAI_LIMITS:(asks|running):address:127\.0\.0\.1"
)
# Where the keys stand among the words of a command; other commands have none.
FIRST = {"GET", "SET", "XADD", "XRANGE", "XREVRANGE", "EXPIRE", "XTRIM", "RPUSH", "LRANGE",
         "XACK", "XDEL", "XCLAIM", "XAUTOCLAIM", "XPENDING", "EXISTS", "XLEN",
         "ZADD", "ZCARD", "ZSCORE", "ZRANGE", "ZREM", "ZREMRANGEBYSCORE"}  # fmt: skip
KEYLESS = {"TIME", "INFO", "PING", "MULTI", "EXEC", "HELLO", "CLIENT", "AUTH", "SELECT"}


def keys_of(command: str) -> list[str]:
    """The keys that a command touches; a command that we should not know has a key too many."""
    words = command.split(" ")
    name = words[0].upper()
    if name in FIRST:
        return [words[1]]
    if name in ("XREAD", "XREADGROUP"):
        rest = words[[word.upper() for word in words].index("STREAMS") + 1 :]
        return rest[: len(rest) // 2]
    if name == "EVAL":
        found = re.search(r"\\n (\d+) (.*)", command)  # behind the script's last line
        return found[2].split(" ")[: int(found[1])] if found else ["no keys were found"]
    if name in ("XGROUP", "XINFO"):
        return [words[2]]
    return [] if name in KEYLESS else [f"unknown command {name}"]


@pytest.mark.parametrize("start", range(0, len(TEMPLATES), 6))
async def test_templates_are_words(stack: Stack, start: int) -> None:
    """What would be filled in elsewhere reaches the model as it was typed."""
    for shape in TEMPLATES[start : start + 6]:
        question = f"{shape} and {uuid.uuid4()}?"
        answer = await (await stack.person()).ask(question, topic=f"about {shape}")
        await stack.whole(answer)
        (request,) = stack.model.requests_for(question)
        system, human = request.body["messages"]
        assert human["content"] == question
        assert f"about {shape}" in system["content"]


async def test_only_ids_become_keys(stack: Stack) -> None:
    """Whatever is sent as an id, the only keys that Redis hears of are ours."""
    heard: list[str] = []
    done = uuid.uuid4()
    async with Redis.from_url(stack.redis.url) as client, client.monitor() as monitor:

        async def watch() -> None:
            async with aclosing(monitor.listen()) as commands:
                async for command in commands:
                    heard.append(command["command"])
                    if command["command"] == f"GET questions:{done}":
                        return

        watching = asyncio.create_task(watch())
        async with wired(stack.servers[0].port) as wire:
            await wire.join()
            for name in ("askQuestion", "resumeQuestion", "stopQuestion"):
                for given in IDS:
                    payload = {"questionId": given, "topic": FORGED, "topicQuestion": FORGED}
                    await wire.send(event(name, payload))
            for after in AFTERS:
                payload = {"questionId": str(uuid.uuid4()), "after": after}
                await wire.send(event("resumeQuestion", payload))
            await wire.send(event("stopQuestion", {"questionId": str(uuid.uuid4())}, 77))
            while not (await wire.text()).startswith("4377"):
                pass
        for user_id in (None, "../ann", "ann:ben", "{ann}", "a*", "x" * 65):
            person = await stack.person(user_id=user_id)
            await stack.whole(await person.ask(f"{FORGED[:15]} and {uuid.uuid4()}?"))
        await stack.store.get(f"questions:{done}")
        async with asyncio.timeout(20):
            await watching
    keys = [key for command in heard for key in keys_of(command)]
    assert "OPENAI_QUESTIONS" in keys
    assert {"OPENAI_STREAM", "OPENAI_STREAM:USER1"} & set(keys)
    assert [key for key in keys if not KEYS.fullmatch(key)] == []


async def test_what_is_sent_is_not_logged(stack: Stack) -> None:
    """Lines and words that clients put into whatever they can stand in no log."""
    headers = {"User-Agent": "somebodys-words", "Origin": "http://somebodys-words"}
    auth = json.dumps({"userId": FORGED})
    async with aiohttp.ClientSession(headers=headers) as http:
        url = f"{stack.servers[0].url}/socket.io/?EIO=4&transport=websocket&x=somebodys-words"
        for packet in (
            json.dumps([FORGED, FORGED]),
            f'["askQuestion",{json.dumps(FORGED)}]',
            f'["askQuestion",{{"questionId":{json.dumps(FORGED)}}}]',
            f'["askQuestion",{json.dumps(FORGED)}',
            f'["disconnect",{json.dumps(FORGED)}]',
        ):
            async with http.ws_connect(url) as ws:
                await ws.receive()
                await ws.send_str(f"40{auth}")
                await ws.receive()
                await ws.send_str(f"42{packet}")
                await ws.send_str("9" + FORGED)
                async for _ in ws:
                    pass
    lines = stack.servers[0].log.splitlines()
    ours = re.compile(r"\d{4}-\d\d-\d\d .* INFO backend\.server\.engineio_fixes\.session ")
    assert [line for line in lines if not ours.match(line)] == []
    assert "somebodys-words" not in stack.servers[0].log


async def test_another_question_of_the_same_id(stack: Stack) -> None:
    """An id that stands for somebody's question gives another question nothing."""
    person, thief = await stack.person(), await stack.person()
    answer = await person.ask("What is mine?")
    await stack.whole(answer)
    payload = {"topic": "Redis", "topicQuestion": "What is yours?"}
    for after in ("0-0", answer.last_id):
        ack = await thief.request(
            "askQuestion", {**payload, "questionId": answer.question_id, "after": after}
        )
        assert ack["error"]["code"] == "invalid_request"
    assert thief.strays == []


async def test_after_an_entry_of_another_answer(stack: Stack) -> None:
    """Who resumes behind an entry of somebody else's answer sees nothing of that."""
    person = await stack.person()
    first, second = await person.ask("Who is first?"), await person.ask("Who is second?")
    await stack.whole(first, second)
    for after in (second.metas[0]["id"], second.last_id, "1-1", "999999999999999-0"):
        late = await stack.person()
        answer = await late.resume(first.question_id, question=first.question, after=after)
        refused = {"questionId": first.question_id, "after": "x"}
        assert not (await late.request("resumeQuestion", refused))["ok"]
        assert (answer.foreign, late.strays) == (0, [])
        stack.people.remove(late)  # what it skipped looks like holes, and it wants it so


async def test_frames_of_words(stack: Stack) -> None:
    """A text that is no packet ends its connection, and nothing else."""
    async with wired(stack.servers[0].port) as wire:
        await wire.join()
        await wire.send(frame(TEXT, FORGED.encode()))
        await wire.closed_with()
