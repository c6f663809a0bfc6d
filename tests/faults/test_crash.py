"""Crashes: whoever dies or freezes, each question ends once, and whole where that is possible."""

import asyncio
import time

import pytest

from tests.faults.stack import ONE_MODE, Stack

pytestmark = pytest.mark.asyncio(loop_scope="module")

TAKEOVER_S = 15.0  # with the lease that is the default


@ONE_MODE
async def test_a_killed_worker_is_replaced_with_the_default_lease(own_stack: Stack) -> None:
    """With no setting changed, another worker answers anew within 15 s of a kill."""
    server, _, _ = await asyncio.gather(
        own_stack.server(),
        own_stack.worker(LEASE_S=""),
        own_stack.worker(LEASE_S=""),
    )
    answer = await (await own_stack.person()).ask("Who takes over? [[interval_ms=20 hold=40]]")
    await answer.received(30)
    await own_stack.kill(await own_stack.busy_worker(answer))
    killed = time.monotonic()
    await answer.begun_anew(2)
    took_s = time.monotonic() - killed
    own_stack.model.go_on(answer.question)
    print(f"\ntaken over after {took_s:.1f} s, default lease")  # noqa: T201
    assert took_s < TAKEOVER_S
    await own_stack.whole(answer)
    late = await own_stack.late_reader(answer, server)
    await own_stack.whole(late)


async def test_a_killed_worker(stack: Stack) -> None:
    """After kill -9 in mid-answer another worker answers anew; its other readers see the same."""
    await stack.have(servers=2, workers=2)
    person = await stack.person()
    answer = await person.ask("Who goes on? [[interval_ms=20 hold=40]]")
    other = await (await stack.person()).ask("And with me? [[interval_ms=20]]")
    await answer.received(30)
    tab = await stack.late_reader(answer, stack.servers[1])
    await stack.kill(await stack.busy_worker(answer))
    killed = time.monotonic()
    await answer.begun_anew(2)
    print(f"\ntaken over after {time.monotonic() - killed:.1f} s, lease 2 s")  # noqa: T201
    stack.model.go_on(answer.question)
    await stack.whole(answer, other, tab)
    assert (answer.attempt, tab.attempt) == (2, 2)
    late = await stack.late_reader(answer)
    await stack.whole(late)
    record = await stack.settled(answer)
    assert (record["status"], record["attempt"], record["lapses"]) == ("done", 2, 1)
    assert stack.model.open_streams == 0


async def test_a_killed_worker_and_an_answer_in_one_piece(stack: Stack) -> None:
    """A POST whose worker is killed is answered whole by another one."""
    await stack.have(servers=1, workers=2)
    question = "In one piece? [[interval_ms=20 hold=30]]"
    body = {"topic": "Redis", "topicQuestion": question}
    url = f"{stack.servers[0].url}/askQuestionWithoutStream"
    posting = asyncio.create_task(stack.http.post(url, json=body))
    await stack.model.wait_sent(question, 20)
    (row,) = await stack.store.xrange("OPENAI_QUESTIONS")
    await stack.kill(await stack.worker_with(row[1]["questionId"]))
    await stack.model.wait_requests(question, 2)
    stack.model.go_on(question)
    response = await posting
    assert response.status == 200
    assert (await response.json())["output"] == stack.model.answer_to(question)


async def test_a_frozen_worker_thaws(stack: Stack) -> None:
    """What a worker writes that was frozen for longer than its lease reaches no reader."""
    await stack.have(servers=2, workers=2)
    answer = await (await stack.person()).ask("Who is late? [[interval_ms=25 hold=50]]")
    await answer.received(30)
    known = len(answer.metas)
    before = await stack.late_reader(answer, stack.servers[1])
    await before.received(10)
    frozen = await stack.busy_worker(answer)
    stack.freeze(frozen)
    await answer.begun_anew(2)
    stack.model.go_on(answer.question)
    await answer.received(20)
    stack.thaw(frozen)
    await stack.whole(answer, before)
    await stack.model.wait_closed(answer.question)
    # Read only after the frozen one has written all it ever will.
    await frozen.printed(f"question {answer.question_id}")
    late = await stack.late_reader(answer)
    # Behind the entry that somebody had last there follows what they would have seen, had they
    # stayed: the rest of the frozen worker's attempt, and then the START of the next one.
    after = await (await stack.person(stack.servers[1])).resume_behind(answer, known)
    await stack.whole(late, after)
    assert (late.attempt, after.attempt) == (2, 2)


async def test_a_frozen_worker_thaws_with_a_whole_answer(stack: Stack) -> None:
    """A late END of an older attempt ends nothing, and does not take the question off the queue.

    So when the worker that has taken over is killed, a third attempt follows.
    """
    await stack.have(servers=1, workers=2)
    question = "Who has the last word? [[tokens=12 hold=11]]"
    answer = await (await stack.person()).ask(question)
    await answer.received(10)
    frozen = await stack.busy_worker(answer)
    stack.freeze(frozen)
    stack.model.go_on(answer.question)  # into the connection of the frozen one
    await answer.begun_anew(2)
    second = await stack.busy_worker(answer)
    await answer.received(2)
    stack.thaw(frozen)
    await frozen.printed(f"question {answer.question_id}")
    late = await stack.late_reader(answer)
    await stack.kill(second)
    await answer.begun_anew(3)
    stack.model.go_on(answer.question)
    await stack.whole(answer, late)
    assert (answer.attempt, late.attempt) == (3, 3)


async def test_server_and_worker_die_in_one_process(own_stack: Stack) -> None:
    """After kill -9 of the one process there was, a new one ends what the old one had begun."""
    both = await own_stack.start()
    await both.ready()
    person = await own_stack.person(both)
    answers = [await person.ask(f"All in one {n}? [[interval_ms=20 hold=40]]") for n in range(3)]
    await asyncio.gather(*(answer.received(20) for answer in answers))
    await own_stack.kill(both)
    another = await own_stack.start()
    await another.ready()
    person.urls[:] = [another.url]
    for answer in answers:
        await answer.begun_anew(2)
        own_stack.model.go_on(answer.question)
    await own_stack.whole(*answers)
    assert [answer.attempt for answer in answers] == [2, 2, 2]


async def test_nobody_is_left(stack: Stack) -> None:
    """With no worker alive a question waits, and is answered when one comes."""
    await stack.have(servers=1, workers=1)
    person = await stack.person()
    begun = await person.ask("Begun? [[interval_ms=20 hold=30]]")
    await begun.received(10)
    await stack.have(servers=1, workers=0)
    queued = await person.ask("Queued?")
    assert (begun.open, queued.open) == (True, True)
    await stack.have(servers=1, workers=1)
    await begun.begun_anew(2)
    stack.model.go_on(begun.question)
    await stack.whole(begun, queued)
    assert (begun.attempt, queued.attempt) == (2, 1)


@ONE_MODE
async def test_too_many_crashes(stack: Stack) -> None:
    """A question that every attempt has crashed at ends as interrupted, with the words it has."""
    await stack.have(servers=1, workers=0)
    person = await stack.person()
    answer = await person.ask("Cursed? [[interval_ms=20 tokens=1000]]")
    for attempt in (1, 2):
        worker = await stack.worker(MAX_ATTEMPTS="2")
        await answer.begun_anew(attempt)
        await answer.received(10)
        await stack.kill(worker)
    said = answer.text
    worker = await stack.worker(MAX_ATTEMPTS="2")
    await stack.partial(answer, "failed", "interrupted")
    assert answer.text.startswith(said)
    late = await stack.late_reader(answer)
    await stack.partial(late, "failed", "interrupted")
    assert late.text == answer.text
    assert len(stack.model.requests_for(answer.question)) == 2
    await stack.kill(worker)


@ONE_MODE
async def test_a_dead_worker_behind_many_that_live(own_stack: Stack) -> None:
    """One lapsed question is found behind any number of older ones that are being answered."""
    await own_stack.have(servers=1, workers=0)
    busy = await own_stack.worker(WORKER_CONCURRENCY="30")
    person = await own_stack.person()
    slow = [await person.ask(f"How long {n}? [[interval_ms=200 tokens=1000]]") for n in range(30)]
    await asyncio.gather(*(answer.received(1) for answer in slow))
    dying = await own_stack.worker(WORKER_CONCURRENCY="1")
    answer = await person.ask("Forgotten? [[interval_ms=20 hold=30]]")
    await answer.received(10)
    assert await own_stack.busy_worker(answer) is dying
    await own_stack.kill(dying)
    await own_stack.worker(WORKER_CONCURRENCY="1")
    await answer.begun_anew(2)
    own_stack.model.go_on(answer.question)
    await own_stack.whole(answer)
    assert all(each.open and each.attempt == 1 for each in slow)
    assert busy.process.returncode is None


@ONE_MODE
async def test_workers_beside_a_server_are_replaced(own_stack: Stack) -> None:
    """A server that was started with workers begins a new one for one that was killed."""
    server = await own_stack.start("--workers", "1")
    await server.ready()
    person = await own_stack.person(server)
    answer = await person.ask("Who looks after you? [[interval_ms=20 hold=30]]")
    await answer.received(10)
    (child,) = own_stack.children(server)
    child.kill()
    await answer.begun_anew(2)
    own_stack.model.go_on(answer.question)
    await own_stack.whole(answer)
    assert answer.attempt == 2


async def test_no_worker_outlives_its_server(own_stack: Stack) -> None:
    """After kill -9 of a server its worker processes end by themselves."""
    server = await own_stack.start("--workers", "2")
    await server.ready()
    answer = await (await own_stack.person(server)).ask("Who is alone?")
    await own_stack.whole(answer)
    children = own_stack.children(server)
    assert len(children) == 2
    await own_stack.kill(server)
    own_stack.people.clear()
    await own_stack.gone(children)


async def test_a_read_timeout_is_no_end(stack: Stack) -> None:
    """The HTTP client that gives up on its POST leaves the answer to be finished and kept."""
    await stack.have(servers=1, workers=1)
    question = "Still there? [[interval_ms=10 hold=20]]"
    body = {"topic": "Redis", "topicQuestion": question}
    url = f"{stack.servers[0].url}/askQuestionWithoutStream"
    posting = asyncio.create_task(stack.http.post(url, json=body))
    await stack.model.wait_sent(question, 20)
    posting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await posting
    stack.model.go_on(question)
    request = await stack.model.wait_closed(question)
    assert request.completed


async def test_a_frozen_server_thaws(stack: Stack) -> None:
    """A server that is frozen until long after the END gives its readers the rest, in order."""
    await stack.have(servers=1, workers=1)
    (server,) = stack.servers
    answer = await (await stack.person()).ask("Who slept? [[interval_ms=10 hold=5]]")
    await answer.received(5)
    stack.freeze(server)
    stack.model.go_on(answer.question)
    await stack.model.wait_closed(answer.question)
    await stack.settled(answer)
    assert answer.open
    stack.thaw(server)
    await stack.whole(answer)
    assert answer.attempt == 1
