"""The events of the contract, on a real port, with an embedded Redis and a model that is led.

The client is raw on purpose: a library would hide a second acknowledgement, and reads all the time.
"""

import asyncio
import itertools
import json
import re
import socket
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import aiohttp
import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, web

from backend import transport
from backend.answers import Answers
from backend.app import create_app, drain
from backend.demo import embedded_redis
from backend.errors import Expired
from backend.events import Entry, Finish
from backend.payloads import EVERYBODY, Ask, new_question_id
from backend.record import Record
from backend.run import Chain
from backend.settings import Settings
from backend.sockets import OUTBOX_PACKETS, Sockets
from tests.fakes.rig import PLAIN

PATIENCE_S = 10.0  # all that is waited for comes at once; this is for machines under load
WORDS = "somebodys-words"
EVENTS = ["askQuestion", "resumeQuestion", "stopQuestion"]

Chunk = tuple[str, dict[str, Any]]
Ack = dict[str, Any]


class ToldChain:
    """A model that says what a test tells it; `asked` holds the questions it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._told: defaultdict[str, asyncio.Queue[str | Finish]] = defaultdict(asyncio.Queue)

    def say(self, question: str, *pieces: str) -> None:
        """Go on with the answer to this question."""
        for piece in pieces:
            self._told[question].put_nowait(piece)

    def finish(self, question: str, *pieces: str) -> None:
        """Say these last pieces, and end the answer."""
        self.say(question, *pieces)
        self._told[question].put_nowait(Finish("stop"))

    async def aclose(self) -> None:
        """Hold nothing open."""

    async def stream(self, topic: str, question: str) -> AsyncGenerator[str | Finish]:
        """Answer."""
        self.asked.append(question)
        while True:
            piece = await self._told[question].get()
            yield piece
            if isinstance(piece, Finish):
                return

    async def load(self, settings: Settings) -> Chain:
        """The loader of this chain."""
        return self


class Client:
    """A Socket.IO client on a WebSocket. All that it receives is kept, in order."""

    def __init__(self, ws: ClientWebSocketResponse) -> None:
        self.ws = ws
        self.chunks: list[Chunk] = []
        self.acks: list[tuple[int, list[Any]]] = []
        self._numbers = itertools.count()
        self._received = asyncio.Condition()

    async def listen(self) -> None:
        """Take in what comes until the connection is closed."""
        async for message in self.ws:
            async with self._received:
                await self._take(message.data)
                self._received.notify_all()

    async def _take(self, packet: str) -> None:
        if packet == "2":
            await self.ws.send_str("3")
        elif packet.startswith("42"):
            name, text, meta = json.loads(packet[2:])
            assert name == "chunk"
            self.chunks.append((text, meta))
        elif ack := re.fullmatch(r"43(\d+)(.*)", packet, re.DOTALL):
            self.acks.append((int(ack[1]), json.loads(ack[2])))
        else:
            raise AssertionError(packet)

    @property
    def texts(self) -> list[str]:
        """The first arguments of all chunks."""
        return [text for text, _ in self.chunks]

    async def emit(self, event: str, *arguments: Any) -> None:
        """Send an event without a callback."""
        await self.ws.send_str(f"42{json.dumps([event, *arguments])}")

    async def send(self, event: str, *arguments: Any) -> int:
        """Send an event with a callback; the number of its acknowledgement."""
        number = next(self._numbers)
        await self.ws.send_str(f"42{number}{json.dumps([event, *arguments])}")
        return number

    async def send_bytes(self, event: str, data: bytes) -> int:
        """Send an event whose payload is binary; the number of its acknowledgement."""
        number = next(self._numbers)
        placeholder = {"_placeholder": True, "num": 0}
        await self.ws.send_str(f"451-{number}{json.dumps([event, placeholder])}")
        await self.ws.send_bytes(data)
        return number

    async def acknowledged(self, number: int) -> Ack:
        """Wait for an acknowledgement; what it says."""
        await self.until(lambda: bool(self.acks_of(number)))
        ((ack,),) = self.acks_of(number)
        assert isinstance(ack, dict)
        return ack

    def acks_of(self, number: int) -> list[list[Any]]:
        """Every acknowledgement with this number that has come."""
        return [arguments for each, arguments in self.acks if each == number]

    async def call(self, event: str, *arguments: Any) -> Ack:
        """Send an event and wait for its acknowledgement."""
        return await self.acknowledged(await self.send(event, *arguments))

    async def ask(self, question: str = "What is a stream?", **more: Any) -> str:
        """Ask; the question's id."""
        ack = await self.call("askQuestion", {"topic": "Redis", "topicQuestion": question, **more})
        assert ack["ok"], ack
        return str(ack["questionId"])

    async def settled(self) -> None:
        """Return once whatever was sent before has been handled, and its outcome received."""
        ack = await self.call("stopQuestion", None)
        assert not ack["ok"]

    async def until(self, check: Callable[[], bool]) -> None:
        """Wait until this holds; it is looked at whenever something comes."""
        async with asyncio.timeout(PATIENCE_S), self._received:
            await self._received.wait_for(check)

    async def said(self, question_id: str, text: str) -> None:
        """Wait until exactly this is what has come of an answer."""
        await self.until(lambda: self.text(question_id) == text)

    async def ended(self, question_id: str) -> dict[str, Any]:
        """Wait for the END of an answer; its meta."""
        await self.until(lambda: bool(self.ends(question_id)))
        return self.ends(question_id)[0]

    def chunks_of(self, question_id: str) -> list[Chunk]:
        """The chunks of one question."""
        return [chunk for chunk in self.chunks if chunk[1]["questionId"] == question_id]

    def text(self, question_id: str) -> str:
        """The pieces of an answer, as often as they came."""
        pieces = (
            text
            for text, meta in self.chunks_of(question_id)
            if meta.get("number") and "status" not in meta
        )
        return "".join(pieces)

    def ends(self, question_id: str) -> list[dict[str, Any]]:
        """The metas of the ENDs of a question."""
        return [meta for _, meta in self.chunks_of(question_id) if "status" in meta]


async def open_socket(http: ClientSession, url: str) -> ClientWebSocketResponse:
    """Connect over a WebSocket; nothing but the handshake is read."""
    ws: ClientWebSocketResponse = await http.ws_connect(
        f"{url}/socket.io/?EIO=4&transport=websocket"
    )
    assert (await ws.receive_str()).startswith("0{")
    await ws.send_str("40")
    assert (await ws.receive_str()).startswith("40{")
    return ws


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Client]:
    """A client that listens while the block lasts."""
    async with ClientSession() as http, await open_socket(http, url) as ws:
        client = Client(ws)
        listening = asyncio.create_task(client.listen())
        try:
            yield client
        finally:
            await ws.close()
            await listening


@asynccontextmanager
async def listening(app: web.Application) -> AsyncIterator[str]:
    """Serve an application, whose sockets have small buffers; its address."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        port = socket.create_server(("127.0.0.1", 0))  # closed by the runner
        port.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # accepted ones inherit it
        await web.SockSite(runner, port).start()
        yield f"http://127.0.0.1:{port.getsockname()[1]}"
    finally:
        await runner.cleanup()


class Backend:
    """A whole backend in this process, and the model that it asks."""

    def __init__(self, **settings: Any) -> None:
        self.chain = ToldChain()
        self.url = ""
        self.app = create_app(
            Settings(write_linger_ms=0, **settings),
            connect=embedded_redis,
            load_chain=self.chain.load,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Backend"]:
        """Serve; questions can be taken when the block begins."""
        async with listening(self.app) as self.url, ClientSession() as http:
            async with asyncio.timeout(PATIENCE_S):
                while (await http.get(f"{self.url}/readyz")).status != 200:
                    pass
            yield self


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
    backend.chain.finish("Done?")
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
    sio = transport.create_socket_server()
    sockets = Sockets(sio, answers, PLAIN, Settings())
    transport.attach(sio, app)
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
        await client.settled()
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
    create = transport.create_socket_server

    def remembered(**options: Any) -> Any:
        servers.append(create(**options))
        return servers[-1]

    monkeypatch.setattr(transport, "create_socket_server", remembered)
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
                longest = max(longest, transport.outbox_size(sio, frozen_sid))
            backend.chain.finish("What?")
            await quick.ended(question_id)
        assert OUTBOX_PACKETS <= longest <= OUTBOX_PACKETS + 1
        reading = asyncio.create_task(frozen.listen())
        await frozen.ended(question_id)
        assert frozen.text(question_id) == "".join(pieces)
        assert frozen.chunks == quick.chunks
    await reading
