"""MAX_FOLLOWED_PER_SOCKET: how many answers one socket follows."""

from tests.fakes.told_backend import Backend, Client, connected, running_subscriptions


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
    assert len(running_subscriptions()) == 3
