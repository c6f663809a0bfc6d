"""The events of the contract, on a real port, with an embedded Redis and a model that is led.

The client is raw on purpose: a library would hide a second acknowledgement, and reads all the time.
"""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import aiohttp
import pytest
from aiohttp import ClientSession, web

from backend.app import drain
from backend.protocol.entries import Entry
from backend.protocol.errors import Expired
from backend.protocol.record import Record
from backend.protocol.requests import EVERYBODY, Ask, new_question_id
from backend.server import engineio_fixes
from backend.server.question_service import Answers
from backend.server.socket_events import OUTBOX_PACKETS, Sockets
from backend.settings import Settings
from tests.fakes.rig import PLAIN, open_reception
from tests.fakes.told_backend import (
    PATIENCE_S,
    Backend,
    Client,
    connected,
    listening,
    open_socket,
)

WORDS = "somebodys-words"
EVENTS = ["askQuestion", "resumeQuestion", "stopQuestion"]


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    """A backend at whose sockets at most three answers may be followed."""
    async with Backend(max_followed_per_socket=3).running() as backend:
        yield backend


@pytest.fixture
async def client(backend: Backend) -> AsyncIterator[Client]:
    """A client of that backend."""
    async with connected(backend.url) as client:
        yield client


@pytest.fixture
async def other(backend: Backend) -> AsyncIterator[Client]:
    """Another client of that backend."""
    async with connected(backend.url) as client:
        yield client


def readers() -> list[asyncio.Task[Any]]:
    """The tasks that read an answer for a socket."""
    return [task for task in asyncio.all_tasks() if "Readers._forward" in repr(task)]


# Asking


async def test_an_answer_comes_piece_by_piece(backend: Backend, client: Client) -> None:
    """START, each piece as it is said, END; all in chunk events, with who they are for."""
    question_id = await client.ask("What?")
    for piece in ("A log", " of <b>entries</b>", ";END:x"):
        backend.chain.say("What?", piece)
        await client.until(lambda piece=piece: piece in client.texts)  # type: ignore[misc]
    backend.chain.finish("What?")
    await client.ended(question_id)
    assert client.texts == [
        f"START:{question_id};<br/>",
        *("A log", " of <b>entries</b>", ";END:x"),
        f"<br/>;END:{question_id}",
    ]
    metas = [meta for _, meta in client.chunks]
    assert {(meta["questionId"], meta["attempt"]) for meta in metas} == {(question_id, 1)}
    assert [meta["number"] for meta in metas] == [0, 1, 2, 3, 4]
    assert [meta.get("status") for meta in metas] == [None, None, None, None, "done"]


async def test_an_accepted_question_is_acknowledged(client: Client) -> None:
    """The acknowledgement has the id and the status, whatever else was passed."""
    ack = await client.call("askQuestion", {"topic": "Redis", "topicQuestion": "What?", "x": 1}, 2)
    assert ack == {"ok": True, "questionId": ack["questionId"], "status": "queued", "attempt": 0}


async def test_without_a_callback_nothing_is_acknowledged(backend: Backend, client: Client) -> None:
    """A page that passes no callback gets chunks, and nothing else."""
    await client.emit("askQuestion", {"topic": "Redis", "topicQuestion": "What?"})
    backend.chain.finish("What?", "That.")
    await client.until(lambda: bool(client.chunks) and "status" in client.chunks[-1][1])
    assert client.acks == []


async def test_a_client_may_choose_the_id(backend: Backend, client: Client, other: Client) -> None:
    """Asked twice under one id, from two sockets, a question is answered once, for both."""
    chosen = new_question_id()
    assert await client.ask("What?", questionId=chosen) == chosen
    assert await other.ask("What?", questionId=chosen) == chosen
    backend.chain.finish("What?", "That.")
    for each in (client, other):
        await each.ended(chosen)
        assert each.text(chosen) == "That."
    assert backend.chain.asked == ["What?"]


BAD_PAYLOADS: list[Any] = [
    None,
    5,
    True,
    "text",
    [],
    ["Redis", "What?"],
    {},
    {"questionId": 5},
    {"questionId": "1"},
    {"questionId": None},
    {"topic": "Redis"},
    {"topic": {}, "topicQuestion": []},
]


@pytest.mark.parametrize("payload", BAD_PAYLOADS, ids=repr)
@pytest.mark.parametrize("event", EVENTS)
async def test_nonsense_is_acknowledged(client: Client, event: str, payload: Any) -> None:
    """Whatever comes in place of a payload is refused in the acknowledgement, in words."""
    ack = await client.call(event, payload)
    assert ack["ok"] is False
    assert ack["error"]["code"] == "invalid_request"
    assert ack["error"]["retryable"] is False
    assert ack["error"]["message"].endswith(".")


@pytest.mark.parametrize("event", EVENTS)
async def test_bytes_are_acknowledged(client: Client, event: str) -> None:
    """A binary payload is no object; it is refused like any other nonsense."""
    ack = await client.acknowledged(await client.send_bytes(event, b'{"topic": "Redis"}'))
    assert (ack["ok"], ack["error"]["code"]) == (False, "invalid_request")


@pytest.mark.parametrize("event", EVENTS)
async def test_an_event_without_arguments_is_acknowledged(client: Client, event: str) -> None:
    """No payload at all is refused, too."""
    ack = await client.call(event)
    assert (ack["ok"], ack["error"]["code"]) == (False, "invalid_request")


async def test_a_resume_behind_nonsense_is_refused(backend: Backend, client: Client) -> None:
    """What follows no possible entry is not guessed at."""
    question_id = await client.ask("What?")
    for after in (5, "", "$", "1", "1-1; x", "9" * 30 + "-1", ["1-1"]):
        ack = await client.call("resumeQuestion", {"questionId": question_id, "after": after})
        assert (ack["ok"], ack["error"]["code"]) == (False, "invalid_request")


async def test_a_refused_question_is_not_left_hanging(client: Client) -> None:
    """START, one line for people, END; under the client's own id, where it chose one."""
    chosen = new_question_id()
    await client.emit("askQuestion", {"topic": "Redis", "questionId": chosen})
    meta = await client.ended(chosen)
    assert client.texts == [
        f"START:{chosen};<br/>",
        "topicQuestion has to be a text.",
        f"<br/>;END:{chosen}",
    ]
    assert (meta["status"], meta["error"]["code"]) == ("failed", "invalid_request")
    assert client.chunks[1][1]["notice"] is True


async def test_an_id_stands_for_one_text(backend: Backend, client: Client) -> None:
    """Another text under a known id is refused, under another id: the answer is not disturbed."""
    question_id = await client.ask("What?")
    ask = {"topic": "Redis", "topicQuestion": "Else?", "questionId": question_id}
    ack = await client.call("askQuestion", ask)
    assert (ack["ok"], ack["error"]["code"]) == (False, "invalid_request")
    backend.chain.finish("What?", "That.")
    assert (await client.ended(question_id))["status"] == "done"
    (refusal,) = {meta["questionId"] for _, meta in client.chunks} - {question_id}
    assert [meta["status"] for meta in client.ends(refusal)] == ["failed"]


# Bounds


async def ask_three(client: Client) -> list[str]:
    """Ask as many questions as the socket may follow."""
    return [await client.ask(f"Question {number}?") for number in range(3)]


async def test_a_socket_follows_so_many_answers(backend: Backend, client: Client) -> None:
    """One more is refused as busy, whether asked or resumed; another socket is not concerned."""
    await ask_three(client)
    async with connected(backend.url) as other:
        question_id = await other.ask("Mine?")
    ack = await client.call("askQuestion", {"topic": "Redis", "topicQuestion": "A fourth?"})
    assert (ack["ok"], ack["error"]["code"], ack["error"]["retryable"]) == (False, "busy", True)
    ack = await client.call("resumeQuestion", {"questionId": question_id})
    assert (ack["ok"], ack["error"]["code"]) == (False, "busy")
    assert "A fourth?" not in backend.chain.asked


async def test_an_ended_answer_makes_room(backend: Backend, client: Client) -> None:
    """Once an answer has ended, another may be followed."""
    first, *_ = await ask_three(client)
    backend.chain.finish("Question 0?")
    await client.ended(first)
    assert await client.ask("A fourth?")


async def test_a_followed_answer_needs_no_more_room(backend: Backend, client: Client) -> None:
    """At its bound a socket may still resume what it follows already: the reader is replaced."""
    first, *_ = await ask_three(client)
    assert (await client.call("resumeQuestion", {"questionId": first}))["ok"]


async def test_a_burst_does_not_get_past_the_bound(backend: Backend, client: Client) -> None:
    """Questions sent at once, before any is accepted, are counted like others."""
    sent = [
        await client.send("askQuestion", {"topic": "Redis", "topicQuestion": f"Burst {number}?"})
        for number in range(8)
    ]
    acks = [await client.acknowledged(number) for number in sent]
    assert sum(ack["ok"] for ack in acks) == 3
    assert len(readers()) == 3


# Resuming


async def test_two_sockets_follow_one_answer(
    backend: Backend, client: Client, other: Client
) -> None:
    """A second socket gets what was said before, and both get what is said then, once."""
    question_id = await client.ask("What?")
    backend.chain.say("What?", "One,")
    await client.said(question_id, "One,")
    ack = await other.call("resumeQuestion", {"questionId": question_id})
    assert (ack["ok"], ack["status"]) == (True, "running")
    await other.said(question_id, "One,")
    backend.chain.finish("What?", " two.")
    for each in (client, other):
        await each.ended(question_id)
    assert client.chunks == other.chunks


async def test_nobody_gets_what_is_for_another(
    backend: Backend, client: Client, other: Client
) -> None:
    """Answers that run at once do not mix, and a socket sees only what it asked for."""
    mine, theirs = await client.ask("Mine?"), await other.ask("Theirs?")
    for number in range(20):
        backend.chain.say("Mine?", f"m{number} ")
        backend.chain.say("Theirs?", f"t{number} ")
    for question in ("Mine?", "Theirs?"):
        backend.chain.finish(question)
    await client.ended(mine)
    await other.ended(theirs)
    assert client.chunks == client.chunks_of(mine)
    assert other.chunks == other.chunks_of(theirs)
    assert client.text(mine) == "".join(f"m{number} " for number in range(20))


async def test_an_ended_answer_is_resumed(backend: Backend, client: Client, other: Client) -> None:
    """Whoever comes after the END gets the same chunks, and the status with the acknowledgement."""
    question_id = await client.ask("What?")
    backend.chain.finish("What?", "That.")
    await client.ended(question_id)
    ack = await other.call("resumeQuestion", {"questionId": question_id})
    await other.ended(question_id)
    assert other.chunks == client.chunks
    assert ack["ok"]


async def test_a_resume_goes_on_behind_an_entry(
    backend: Backend, client: Client, other: Client
) -> None:
    """From any entry on, the rest is the same, be it all, a part, or nothing."""
    question_id = await client.ask("What?")
    for piece, said in (("One,", "One,"), (" two,", "One, two,"), (" three.", "One, two, three.")):
        backend.chain.say("What?", piece)
        await client.said(question_id, said)
    backend.chain.finish("What?")
    await client.ended(question_id)
    for position, (_, meta) in enumerate(client.chunks[:-1], 1):
        other.chunks.clear()
        await other.call("resumeQuestion", {"questionId": question_id, "after": meta["id"]})
        await other.ended(question_id)
        assert other.chunks == client.chunks[position:]


async def test_a_second_resume_replaces_the_first(backend: Backend, client: Client) -> None:
    """A socket that resumes what it follows gets it from the start, then each piece once."""
    question_id = await client.ask("What?")
    backend.chain.say("What?", "One,")
    await client.said(question_id, "One,")
    for _ in range(2):
        await client.call("resumeQuestion", {"questionId": question_id})
    await client.until(lambda: client.text(question_id).endswith("One,One,"))
    seen = len(client.chunks)
    backend.chain.finish("What?", " two.")
    await client.ended(question_id)
    await client.settled()
    assert client.texts[seen:].count(" two.") == 1
    assert len(client.ends(question_id)) == 1


async def test_a_reader_is_told_what_was_asked(
    backend: Backend, client: Client, other: Client
) -> None:
    """Who knows an answer by its id alone, from a link, gets the question with it."""
    question_id = await client.ask("What?")
    ack = await other.call("resumeQuestion", {"questionId": question_id})
    assert (ack["topic"], ack["topicQuestion"]) == ("Redis", "What?")
    backend.chain.finish("What?", "That.")
    await other.ended(question_id)


@pytest.mark.parametrize("event", ["resumeQuestion", "stopQuestion"])
async def test_what_is_not_stored_is_only_acknowledged(client: Client, event: str) -> None:
    """An unknown question is refused in the acknowledgement alone: no chunk belongs to it."""
    ack = await client.call(event, {"questionId": new_question_id()})
    assert (ack["ok"], ack["error"]["code"]) == (False, "expired")
    await client.settled()
    assert client.chunks == []


# Stopping


async def test_stop_ends_an_answer(backend: Backend, client: Client, other: Client) -> None:
    """At the acknowledgement the answer has ended, for everybody; what was said stays."""
    question_id = await client.ask("What?")
    backend.chain.say("What?", "One,")
    await client.said(question_id, "One,")
    ack = await other.call("stopQuestion", {"questionId": question_id})
    assert (ack["ok"], ack["questionId"], ack["status"]) == (True, question_id, "stopped")
    meta = await client.ended(question_id)
    assert meta["status"] == "stopped"
    assert "error" not in meta
    assert client.text(question_id) == "One,"


async def test_stopping_twice_is_stopping(backend: Backend, client: Client) -> None:
    """A second stop, and one that comes after the end, say how it ended."""
    stopped, done = await client.ask("Stopped?"), await client.ask("Done?")
    backend.chain.finish("Done?", "That.")
    await client.ended(done)
    for question_id, status in ((stopped, "stopped"), (stopped, "stopped"), (done, "done")):
        ack = await client.call("stopQuestion", {"questionId": question_id})
        assert (ack["ok"], ack["status"]) == (True, status)
    await client.settled()
    assert len(client.ends(stopped)) == len(client.ends(done)) == 1


# Ends


async def test_a_disconnect_is_not_a_stop(backend: Backend, client: Client, other: Client) -> None:
    """The reader ends with its socket; the answer does not, and is there for a resume."""
    question_id = await client.ask("What?")
    backend.chain.say("What?", "One,")
    await client.said(question_id, "One,")
    (reader,) = readers()
    await client.ws.close()
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.wait({reader})
    assert readers() == []
    backend.chain.finish("What?", " two.")
    await other.call("resumeQuestion", {"questionId": question_id})
    assert (await other.ended(question_id))["status"] == "done"
    assert other.text(question_id) == "One, two."


async def test_an_ended_answer_leaves_no_reader(backend: Backend, client: Client) -> None:
    """Once the END is sent, nothing is kept running for it."""
    question_id = await client.ask("What?")
    (reader,) = readers()
    backend.chain.finish("What?")
    await client.ended(question_id)
    await asyncio.wait({reader}, timeout=PATIENCE_S)
    assert readers() == []


async def test_no_reader_outlives_the_server() -> None:
    """When the server ends, so do its readers, and its sockets are closed."""
    async with Backend().running() as backend, ClientSession() as http:
        client = Client(await open_socket(http, backend.url))
        reading = asyncio.create_task(client.listen())
        question_id = await client.ask("What?")
        await client.until(lambda: bool(client.chunks_of(question_id)))
        assert len(readers()) == 1
        stopping = asyncio.create_task(backend.app.shutdown())
        await asyncio.wait({reading, stopping}, timeout=PATIENCE_S)
        assert client.ws.close_code == aiohttp.WSCloseCode.GOING_AWAY
        assert readers() == []


async def test_a_question_is_refused_while_draining(backend: Backend, client: Client) -> None:
    """Before the end, questions are refused as busy, in the acknowledgement and in chunks."""
    await drain(backend.app)
    ack = await client.call("askQuestion", {"topic": "Redis", "topicQuestion": "What?"})
    assert (ack["ok"], ack["error"]["code"], ack["error"]["retryable"]) == (False, "busy", True)
    assert len(client.chunks) == 3
    assert client.chunks[-1][1]["error"]["code"] == "busy"


async def test_an_answer_is_resumed_while_draining(backend: Backend, client: Client) -> None:
    """A client that reconnects while running answers are let finish gets the rest of its own."""
    question_id = await client.ask("What?")
    backend.chain.say("What?", "One,")
    await client.said(question_id, "One,")
    draining = asyncio.create_task(drain(backend.app))
    async with connected(backend.url) as again:
        assert (await again.call("resumeQuestion", {"questionId": question_id}))["ok"]
        backend.chain.finish("What?", " two.")
        assert (await again.ended(question_id))["status"] == "done"
        assert again.text(question_id) == "One, two."
    await draining


# Faults of ours


class BrokenAnswers(Answers):
    """Answers in which nothing works: a fault that nobody has foreseen."""

    def __init__(self) -> None:
        pass

    async def ask(self, ask: Ask, user_id: str = EVERYBODY) -> NoReturn:
        """Break."""
        raise RuntimeError(WORDS)

    async def find(self, question_id: str) -> NoReturn:
        """Break."""
        raise RuntimeError(WORDS)

    async def stop(self, question_id: str) -> NoReturn:
        """Break."""
        raise RuntimeError(WORDS)


class BreakingAnswers(BrokenAnswers):
    """Answers that can be asked for, and break off behind their START."""

    def __init__(self, failure: Exception) -> None:
        self._failure = failure

    async def ask(self, ask: Ask, user_id: str = EVERYBODY) -> Record:  # type: ignore[override]
        """Accept the question."""
        return Record.queued(ask, "OPENAI_STREAM", "0-0", "token")

    async def follow(self, record: Record, after: str | None = None) -> AsyncGenerator[Entry]:
        """Begin, and break."""
        yield Entry.start(record.question_id, 1)
        raise self._failure


@asynccontextmanager
async def client_of(answers: Answers) -> AsyncIterator[Client]:
    """A client of a server with these answers."""
    app = web.Application()
    sio = engineio_fixes.create_socket_server()
    sockets = Sockets(sio, answers, open_reception(answers), PLAIN, Settings())
    engineio_fixes.attach(sio, app)
    async with listening(app) as url, connected(url) as client:
        yield client
    await sockets.close()


@pytest.mark.parametrize("event", EVENTS)
async def test_a_fault_of_ours_is_acknowledged_once(
    event: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Where a handler crashes, its one acknowledgement says so, in words that betray nothing."""
    payload = {"topic": "Redis", "topicQuestion": "What?", "questionId": new_question_id()}
    async with client_of(BrokenAnswers()) as client:
        number = await client.send(event, payload)
        ack = await client.acknowledged(number)
        await client.settled()
        assert len(client.acks_of(number)) == 1
    assert (ack["ok"], ack["error"]["code"], ack["error"]["retryable"]) == (
        False,
        "internal_error",
        True,
    )
    assert WORDS not in json.dumps(ack)
    assert "failed" in caplog.text
    assert WORDS not in caplog.text


async def test_a_fault_of_ours_leaves_no_page_hanging() -> None:
    """Where asking crashes, a page without a callback gets START, a line and END all the same."""
    chosen = new_question_id()
    payload = {"topic": "Redis", "topicQuestion": "What?", "questionId": chosen}
    async with client_of(BrokenAnswers()) as client:
        await client.emit("askQuestion", payload)
        await client.ended(chosen)
        assert [text for text, _ in client.chunks_of(chosen)][::2] == [
            f"START:{chosen};<br/>",
            f"<br/>;END:{chosen}",
        ]
        assert client.ends(chosen)[0]["error"]["code"] == "internal_error"


@pytest.mark.parametrize(
    ("failure", "code"), [(Expired(), "expired"), (RuntimeError(WORDS), "internal_error")]
)
async def test_an_answer_that_cannot_be_read_on_ends(
    failure: Exception, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Where reading breaks off, the socket is told in a line, and with one END."""
    async with client_of(BreakingAnswers(failure)) as client:
        question_id = await client.ask("What?")
        meta = await client.ended(question_id)
        await client.settled()
        assert (meta["status"], meta["error"]["code"]) == ("failed", code)
        start, line, end = client.chunks_of(question_id)
    assert start[0] == f"START:{question_id};<br/>"
    assert line == (meta["error"]["message"], {**line[1], "notice": True})
    assert end[0] == f"<br/>;END:{question_id}"
    assert WORDS not in caplog.text + json.dumps(client.chunks)


# A socket that does not read


def small_socket(info: Any) -> socket.socket:
    """A socket that holds little of what its owner has not read yet."""
    made = socket.socket(info[0], info[1], info[2])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.setblocking(False)
    return made


async def test_a_frozen_socket_costs_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a socket does not read, few packets wait for it; then it gets all, in order."""
    servers = []
    create = engineio_fixes.create_socket_server

    def remembered(**options: Any) -> Any:
        servers.append(create(**options))
        return servers[-1]

    monkeypatch.setattr(engineio_fixes, "create_socket_server", remembered)
    pieces = [f"piece {number} {'x' * 80}\n" for number in range(5_000)]
    connector = aiohttp.TCPConnector(socket_factory=small_socket)
    async with (
        Backend().running() as backend,
        ClientSession(connector=connector) as http,
        await open_socket(http, backend.url) as ws,
    ):
        (sio,) = servers
        (frozen_sid,) = sio.manager.rooms["/"][None]
        frozen = Client(ws)
        async with connected(backend.url) as quick:
            question_id = await quick.ask("What?")
            await frozen.send("resumeQuestion", {"questionId": question_id})
            longest = 0
            for number, piece in enumerate(pieces):
                backend.chain.say("What?", piece)
                await quick.until(lambda number=number: len(quick.chunks) > number + 1)  # type: ignore[misc]
                longest = max(longest, engineio_fixes.outbox_size(sio, frozen_sid))
            backend.chain.finish("What?")
            await quick.ended(question_id)
        assert OUTBOX_PACKETS <= longest <= OUTBOX_PACKETS + 1
        reading = asyncio.create_task(frozen.listen())
        await frozen.ended(question_id)
        assert frozen.text(question_id) == "".join(pieces)
        assert frozen.chunks == quick.chunks
    await reading
