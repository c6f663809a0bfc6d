"""resumeQuestion: any answer, from any entry on, at any number of sockets."""

import pytest

from backend.protocol.requests import new_question_id
from tests.fakes.told_backend import Backend, Client


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


async def test_a_resume_behind_nonsense_is_refused(backend: Backend, client: Client) -> None:
    """What follows no possible entry is not guessed at."""
    question_id = await client.ask("What?")
    for after in (5, "", "$", "1", "1-1; x", "9" * 30 + "-1", ["1-1"]):
        ack = await client.call("resumeQuestion", {"questionId": question_id, "after": after})
        assert (ack["ok"], ack["error"]["code"]) == (False, "invalid_request")
