"""Faults of ours: acknowledged once, ended for pages, and with no text of anybody's."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import NoReturn

import pytest
from aiohttp import web

from backend.protocol.entries import Entry
from backend.protocol.errors import Expired
from backend.protocol.record import Record
from backend.protocol.requests import EVERYBODY, Ask, new_question_id
from backend.runtime.metrics import Metrics
from backend.server import engineio_fixes
from backend.server.question_service import QuestionService
from backend.server.socket_events import SocketEvents
from backend.server.socket_outbox import SocketOutbox
from backend.server.subscriptions import Subscriptions
from backend.settings import Settings
from tests.fakes.rig import open_access
from tests.fakes.told_backend import Client, connected, listening

WORDS = "somebodys-words"
EVENTS = ["askQuestion", "resumeQuestion", "stopQuestion"]


class BrokenService(QuestionService):
    """A question service in which nothing works: a fault that nobody has foreseen."""

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


class BreakingService(BrokenService):
    """A question service whose answers break off behind their START."""

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
async def client_of(service: QuestionService) -> AsyncIterator[Client]:
    """A client of a server with this service."""
    app = web.Application()
    sio = engineio_fixes.create_socket_server()
    outbox = SocketOutbox(sio)
    subscriptions = Subscriptions(service, outbox, max_per_socket=3)
    events = SocketEvents(
        sio, open_access(service), subscriptions, outbox, Settings(), metrics=Metrics()
    )
    engineio_fixes.attach(sio, app)
    async with listening(app) as url, connected(url) as client:
        yield client
    await events.close()


@pytest.mark.parametrize("event", EVENTS)
async def test_a_fault_of_ours_is_acknowledged_once(
    event: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Where a handler crashes, its one acknowledgement says so, in words that betray nothing."""
    payload = {"topic": "Redis", "topicQuestion": "What?", "questionId": new_question_id()}
    async with client_of(BrokenService()) as client:
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
    async with client_of(BrokenService()) as client:
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
    async with client_of(BreakingService(failure)) as client:
        question_id = await client.ask("What?")
        meta = await client.ended(question_id)
        await client.settled()
        assert (meta["status"], meta["error"]["code"]) == ("failed", code)
        start, line, end = client.chunks_of(question_id)
    assert start[0] == f"START:{question_id};<br/>"
    assert line == (meta["error"]["message"], {**line[1], "notice": True})
    assert end[0] == f"<br/>;END:{question_id}"
    assert WORDS not in caplog.text + json.dumps(client.chunks)
