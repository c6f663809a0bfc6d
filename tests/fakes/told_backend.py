"""A backend in the process of the test, a model that says what it is told, and their clients."""

import asyncio
import itertools
import json
import re
import socket
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse, web

from backend.app import create_app
from backend.llm.base import Chain, Finish
from backend.settings import Settings
from backend.store.embedded_redis import embedded_redis

PATIENCE_S = 10.0  # all that is waited for comes soon; this is for machines under load

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


def running_subscriptions() -> list[asyncio.Task[Any]]:
    """The tasks of this process that send an answer to a socket."""
    return [task for task in asyncio.all_tasks() if "Subscription.run" in repr(task)]


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

    def __init__(self, *, load_chain: Any = None, identity: Any = None, **settings: Any) -> None:
        self.chain = ToldChain()
        self.url = ""
        self.app = create_app(
            Settings(write_linger_ms=0, **settings),
            connect=embedded_redis,
            load_chain=load_chain or self.chain.load,
            identity=identity,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Backend"]:
        """Serve; questions can be taken when the block begins."""
        async with listening(self.app) as self.url, ClientSession() as http:
            async with asyncio.timeout(PATIENCE_S):
                while (await http.get(f"{self.url}/readyz")).status != 200:
                    pass
            yield self
