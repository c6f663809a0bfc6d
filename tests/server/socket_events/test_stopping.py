"""stopQuestion: acknowledged once the answer has ended."""

from tests.fakes.told_backend import Backend, Client


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
