"""askQuestion: acknowledged, answered in chunk events, or refused in both."""

from backend.protocol.requests import new_question_id
from tests.fakes.told_backend import Backend, Client


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
