"""Stopping: from anywhere, at any moment, whoever is dead; what was said is kept."""

import asyncio
import time

import pytest

from tests.fakes.client import Answer, Client
from tests.faults.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="module")

ACK_S = 2.0


async def stop_in_time(client: Client, answer: Answer, status: str = "stopped") -> None:
    """Stop an answer; the acknowledgement comes in time and names this status."""
    began = time.monotonic()
    ack = await client.stop(answer.question_id)
    took_s = time.monotonic() - began
    assert (ack["questionId"], ack["status"]) == (answer.question_id, status)
    assert took_s < ACK_S


async def assert_end_stands(stack: Stack, answer: Answer) -> None:
    """The stream and the record say, right now, that the answer was stopped."""
    stored = await stack.stored(answer)
    assert stored.ending
    assert stored.ending.status == "stopped"
    assert (await stack.settled(answer))["status"] == "stopped"


async def test_from_another_server(stack: Stack) -> None:
    """A stop on any server ends the answer for its readers, and closes the provider's connection.

    The END stands in the stream before the stop is acknowledged.
    """
    await stack.have(servers=2, workers=1)
    one, other = stack.servers
    answer = await (await stack.person(one)).ask("Who stops me? [[tokens=5000]]")
    bystander = await (await stack.person(one)).ask("Does it hit me?")
    await answer.received(10)
    await stop_in_time(await stack.person(other), answer)
    stored = await stack.stored(answer)
    assert stored.ending
    assert stored.ending.status == "stopped"
    request = await stack.model.wait_closed(answer.question)
    assert not request.completed
    await stack.partial(answer, "stopped")
    await stack.whole(bystander)


async def test_the_model_is_silent(stack: Stack) -> None:
    """An answer of which the model has not said a word is stopped all the same."""
    await stack.have(servers=1, workers=1)
    person = await stack.person()
    answer = await person.ask("Anything yet? [[fault=stall_before_first]]")
    await stack.model.wait_open(answer.question)
    await stop_in_time(person, answer)
    await stack.model.wait_closed(answer.question)
    await stack.partial(answer, "stopped")
    assert answer.text == ""


async def test_the_model_has_fallen_silent(stack: Stack) -> None:
    """An answer whose model stalls in the middle is stopped, and keeps what was said."""
    await stack.have(servers=1, workers=1)
    person = await stack.person()
    answer = await person.ask("And then? [[fault=stall_after:7]]")
    await answer.wait(lambda: ".6" in answer.text, "all seven")
    await stop_in_time(person, answer)
    await stack.model.wait_closed(answer.question)
    await stack.partial(answer, "stopped")


async def test_twice_and_after_the_end(stack: Stack) -> None:
    """A second stop, and one after the end, change nothing and tell the status."""
    await stack.have(servers=2, workers=1)
    one, other = [await stack.person(server) for server in stack.servers]
    stopped = await one.ask("Once? [[tokens=5000]]")
    done = await one.ask("Already over?")
    await stopped.received(5)
    await asyncio.gather(stop_in_time(one, stopped), stop_in_time(other, stopped))
    await stop_in_time(one, stopped)
    await stack.whole(done)
    await stop_in_time(one, done, "done")
    await stack.partial(stopped, "stopped")
    for answer in (stopped, done):
        entries = await stack.entries(answer)
        assert sum(entry.ending is not None for entry in entries) == 1
    late = await stack.late_reader(done)
    await stack.whole(late)


async def test_many_at_once(stack: Stack) -> None:
    """Twenty answers that are stopped at the same moment all stop in time."""
    await stack.have(servers=2, workers=1)
    people = [await stack.person(stack.servers[n % 2]) for n in range(20)]
    answers = [await person.ask(f"Me, too {n}? [[tokens=5000]]") for n, person in enumerate(people)]
    await asyncio.gather(*(answer.received(5) for answer in answers))
    stops = (stop_in_time(person, answer) for person, answer in zip(people, answers, strict=True))
    await asyncio.gather(*stops)
    for answer in answers:
        await stack.partial(answer, "stopped")
        await stack.model.wait_closed(answer.question)


async def test_the_worker_is_dead(stack: Stack) -> None:
    """An answer whose worker was killed is stopped in time, with what it had said."""
    await stack.have(servers=1, workers=1)
    person = await stack.person()
    answer = await person.ask("Who is there? [[tokens=5000]]")
    await answer.received(20)
    await stack.kill(stack.workers[0])
    said = answer.text
    await stop_in_time(person, answer)
    await assert_end_stands(stack, answer)
    await stack.partial(answer, "stopped")
    assert answer.text.startswith(said)
    late = await stack.late_reader(answer)
    await stack.partial(late, "stopped")
    assert late.text == answer.text


async def test_the_worker_is_dead_and_another_one_lives(stack: Stack) -> None:
    """A stop right after the worker's death wins over the takeover."""
    await stack.have(servers=1, workers=2)
    person = await stack.person()
    answer = await person.ask("Stop or go on? [[tokens=5000]]")
    await answer.received(20)
    await stack.kill(await stack.busy_worker(answer))
    await stop_in_time(person, answer)
    await stack.partial(answer, "stopped")
    await stack.model.wait_closed(answer.question)


async def test_the_worker_is_frozen(stack: Stack) -> None:
    """A frozen worker's answer is stopped in time; what it writes when it thaws changes nothing."""
    await stack.have(servers=1, workers=1)
    (worker,) = stack.workers
    person = await stack.person()
    answer = await person.ask("Cold? [[tokens=300]]")
    await answer.received(20)
    stack.freeze(worker)
    await stop_in_time(person, answer)
    await stack.partial(answer, "stopped")
    stack.thaw(worker)
    await stack.model.wait_closed(answer.question)
    next_one = await person.ask("Are you with us again?")
    await stack.whole(next_one)
    late = await stack.late_reader(answer)
    await stack.partial(late, "stopped")
    assert late.text == answer.text


async def test_still_queued(stack: Stack) -> None:
    """A question that no worker has taken is stopped in time; it never reaches the model."""
    await stack.have(servers=2, workers=0)
    one, other = stack.servers
    answer = await (await stack.person(one)).ask("Is anybody there?")
    await stop_in_time(await stack.person(other), answer)
    await assert_end_stands(stack, answer)
    await stack.partial(answer, "stopped")
    await stack.have(servers=2, workers=1)
    after = await (await stack.person(one)).ask("And now?")
    await stack.whole(after)
    assert stack.model.requests_for(answer.question) == []
