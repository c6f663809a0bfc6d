"""Consumer groups keep their promise: what a user has not received is delivered again."""

import asyncio

import pytest
import pytest_asyncio

from tests.fakes.client import Answer, Client
from tests.faults.stack import Stack, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

STREAM = "OPENAI_STREAM:{}"
GROUP = "OPENAI_STREAM_Grp_{}"
CONSUMER = "OPENAI_STREAM_Con_{}"


@pytest.fixture(scope="module")
def use_xread() -> str:
    """Only the mode that acknowledges."""
    return "false"


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def programs(stack: Stack) -> None:
    """Two servers and a worker."""
    await stack.have(servers=2, workers=1)


async def are_pending(stack: Stack, answer: Answer, count: int) -> None:
    """Wait until so many entries of an answer were delivered and not acknowledged."""

    async def delivered() -> bool:
        return len(await stack.pending(answer)) >= count

    await until(delivered)


async def pending_of(stack: Stack, user_id: str) -> int:
    """What Redis says is pending for a user, of whatever question."""
    summary = await stack.store.xpending(STREAM.format(user_id), GROUP.format(user_id))
    return int(summary["pending"])


async def test_names_are_those_of_the_tutorial(stack: Stack) -> None:
    """A user who says nothing is USER1; stream, group, consumer, id and fields are as published."""
    payload = {"topic": "Redis", "topicQuestion": "What are the names? [[tokens=5]]"}
    async with Client(stack.http, stack.servers[0].url) as asker:
        question_id = (await asker.request("askQuestion", payload))["questionId"]
    assert question_id.startswith("Q-")
    person = await stack.person()
    answer = await person.resume(question_id, question=payload["topicQuestion"])
    await stack.whole(answer)
    stream = STREAM.format("USER1")
    assert await stack.stream(answer) == stream
    (group,) = await stack.store.xinfo_groups(stream)
    assert group["name"] == GROUP.format("USER1")
    (consumer,) = await stack.store.xinfo_consumers(stream, group["name"])
    assert consumer["name"] == CONSUMER.format("USER1")
    assert group["pending"] == 0
    _, fields = (await stack.store.xrange(stream))[-1]
    assert fields["chunkOutput"] == f"<br/>;END:{question_id}"
    assert fields["questionId"] == question_id


async def test_two_tabs_and_two_users(stack: Stack) -> None:
    """Tabs of one user on two servers get their answers whole; another user has a stream apart."""
    one, other = stack.servers
    tabs = [await stack.person(server, user_id="ann") for server in (one, other)]
    ben = await stack.person(one, user_id="ben")
    answers = await asyncio.gather(
        *(tab.ask(f"Who sits at {place}?") for place, tab in enumerate([*tabs, ben]))
    )
    await stack.whole(*answers)
    assert [await stack.stream(answer) for answer in answers] == [
        STREAM.format(user_id) for user_id in ("ann", "ann", "ben")
    ]
    assert [answer.redelivered for answer in answers] == [0, 0, 0]
    assert await pending_of(stack, "ann") == await pending_of(stack, "ben") == 0


async def test_a_server_dies_between_delivery_and_acknowledgement(stack: Stack) -> None:
    """What was sent and not acknowledged stays pending, and is delivered again by another server.

    A page that knows its place loses and doubles nothing. One that has forgotten it is
    told which entries it may have had.
    """
    doomed, heir = stack.servers
    person = await stack.person(doomed, heir, user_id="cut")
    answers = [await person.ask(f"Who cuts {n}? [[tokens=200]] [[interval_ms=30]]") for n in (1, 2)]
    for answer in answers:
        await answer.received(5)
    person.acknowledges = False
    for answer in answers:
        await answer.received(answer.said + 10)
        await are_pending(stack, answer, 4)
    forgetful, known = answers
    forgetful.last_id = None  # as a page that has lost its storage
    await stack.kill(doomed)
    person.acknowledges = True
    await stack.whole(known, forgetful)
    print(  # noqa: T201
        f"\n{forgetful.doubled} entries came twice, {forgetful.redelivered} were marked;"
        f" with a place kept: {known.doubled} came twice"
    )
    assert known.doubled == known.unmarked == 0
    assert forgetful.doubled >= 4
    assert forgetful.unmarked == 0
    forgetful.replayed = True
    assert await pending_of(stack, "cut") == 0


async def test_a_tab_closed_in_the_middle(stack: Stack) -> None:
    """Of an answer that nobody reads, what was delivered stays pending until somebody returns."""
    leaving = Client(stack.http, stack.servers[0].url, user_id="gone")
    async with leaving:
        answer = await leaving.ask("Who leaves? [[tokens=200]] [[interval_ms=20]]")
        leaving.acknowledges = False
        await answer.received(10)
        await are_pending(stack, answer, 4)
    await stack.settled(answer)
    assert len(await stack.pending(answer)) >= 4
    back = await stack.person(stack.servers[1], user_id="gone")
    again = await back.resume(answer.question_id, question=answer.question)
    await stack.whole(again)
    assert again.redelivered >= 4
    assert await pending_of(stack, "gone") == 0


async def test_a_client_that_never_acknowledges(stack: Stack) -> None:
    """The original's page gives no acknowledgement: what was written to it counts as received."""
    person = await stack.person(user_id="mute")
    person.acknowledges = False
    answer = await person.ask("Who is mute? [[tokens=20]]")
    await stack.whole(answer)
    assert await pending_of(stack, "mute") == 0


async def test_somebody_else_reads_along(stack: Stack) -> None:
    """Who has the id of another user's question can read it, and acknowledges nothing with that."""
    asker = Client(stack.http, stack.servers[0].url, user_id="host")
    async with asker:
        answer = await asker.ask("Who is there? [[tokens=20]]")
        asker.acknowledges = False
        await answer.ended()
        guest = await stack.person(stack.servers[1], user_id="guest")
        read = await guest.resume(answer.question_id)
        await read.ended()
        assert read.text == answer.text
        assert read.redelivered == 0
        assert await stack.pending(answer)


async def test_entries_that_another_consumer_has_taken(stack: Stack) -> None:
    """A program that read from the group and vanished costs nobody a word."""
    person = await stack.person(user_id="robbed")
    answer = await person.ask("Who takes? [[tokens=200]] [[interval_ms=20]]")
    await answer.received(3)
    stream, group = STREAM.format("robbed"), GROUP.format("robbed")
    taken = 0
    while answer.open:
        reply = await stack.store.xreadgroup(group, "thief", {stream: ">"}, count=100, block=100)
        taken += sum(len(entries) for _, entries in reply)
    assert taken
    await stack.whole(answer)


async def test_words_of_other_programs(stack: Stack) -> None:
    """An entry that belongs to no question is shown to nobody, and does not stay pending."""
    person = await stack.person(user_id="noisy")
    answer = await person.ask("Who else writes? [[tokens=100]] [[interval_ms=30]]")
    await answer.received(3)
    await stack.store.xadd(STREAM.format("noisy"), {"questionId": "../nobody", "chunkOutput": "x"})
    await stack.store.xadd(STREAM.format("noisy"), {"note": "x"})
    await stack.whole(answer)

    async def nothing_pending() -> bool:
        return await pending_of(stack, "noisy") == 0

    await until(nothing_pending)


async def test_a_post_is_received_too(stack: Stack) -> None:
    """Once the whole answer was sent over HTTP, nothing of it is pending."""
    payload = {"topic": "Redis", "topicQuestion": "All at once? [[tokens=20]]"}
    url = f"{stack.servers[0].url}/askQuestionWithoutStream"
    async with stack.http.post(url, json=payload) as response:
        output = (await response.json())["output"]
    assert output == stack.model.answer_to(payload["topicQuestion"])

    async def nothing_pending() -> bool:
        return await pending_of(stack, "USER1") == 0

    await until(nothing_pending)
