"""What ends with what: sockets, subscriptions, answers and servers."""

import asyncio

import aiohttp
from aiohttp import ClientSession

from backend.app import drain
from tests.fakes.told_backend import (
    PATIENCE_S,
    Backend,
    Client,
    connected,
    open_socket,
    running_subscriptions,
)


async def test_a_disconnect_is_not_a_stop(backend: Backend, client: Client, other: Client) -> None:
    """The reader ends with its socket; the answer does not, and is there for a resume."""
    question_id = await client.ask("What?")
    backend.chain.say("What?", "One,")
    await client.said(question_id, "One,")
    (reader,) = running_subscriptions()
    await client.ws.close()
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.wait({reader})
    assert running_subscriptions() == []
    backend.chain.finish("What?", " two.")
    await other.call("resumeQuestion", {"questionId": question_id})
    assert (await other.ended(question_id))["status"] == "done"
    assert other.text(question_id) == "One, two."


async def test_an_ended_answer_leaves_no_reader(backend: Backend, client: Client) -> None:
    """Once the END is sent, nothing is kept running for it."""
    question_id = await client.ask("What?")
    (reader,) = running_subscriptions()
    backend.chain.finish("What?")
    await client.ended(question_id)
    await asyncio.wait({reader}, timeout=PATIENCE_S)
    assert running_subscriptions() == []


async def test_no_reader_outlives_the_server() -> None:
    """When the server ends, so do its readers, and its sockets are closed."""
    async with Backend().running() as backend, ClientSession() as http:
        client = Client(await open_socket(http, backend.url))
        reading = asyncio.create_task(client.listen())
        question_id = await client.ask("What?")
        await client.until(lambda: bool(client.chunks_of(question_id)))
        assert len(running_subscriptions()) == 1
        stopping = asyncio.create_task(backend.app.shutdown())
        await asyncio.wait({reading, stopping}, timeout=PATIENCE_S)
        assert client.ws.close_code == aiohttp.WSCloseCode.GOING_AWAY
        assert running_subscriptions() == []


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
