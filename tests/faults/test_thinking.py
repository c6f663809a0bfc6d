"""Faults in the middle of thought: it is resumed, stopped and begun anew as text is."""

import asyncio

import aiohttp
import pytest

from tests.fakes.openai_endpoint import thought_pieces
from tests.faults.stack import ONE_MODE, Stack

pytestmark = pytest.mark.asyncio(loop_scope="module")

THOUGHTS = 40


def thoughts(question: str, count: int = THOUGHTS) -> str:
    """What is thought about a question, as far as its first pieces."""
    return "".join(thought_pieces(question, count))


async def test_thought_streams_before_the_answer(stack: Stack) -> None:
    """It comes in entries of its own, the text behind it, and late readers get the same."""
    await stack.have(servers=2, workers=1)
    question = f"What for? [[think={THOUGHTS} interval_ms=5]]"
    answer = await (await stack.person()).ask(question)
    await stack.whole(answer)
    assert answer.reasoning == thoughts(question)
    late = await stack.late_reader(answer, stack.servers[1])
    await stack.whole(late)
    assert late.reasoning == answer.reasoning
    stored = await stack.stored(answer)
    assert (stored.reasoning, stored.text) == (answer.reasoning, answer.text)


@ONE_MODE
async def test_an_answer_in_one_piece_holds_no_thought(stack: Stack) -> None:
    """Who asks by POST gets the text alone."""
    await stack.have(servers=1, workers=1)
    question = f"Only the text? [[think={THOUGHTS}]]"
    body = {"topic": "Redis", "topicQuestion": question}
    async with aiohttp.ClientSession() as http:
        url = f"{stack.servers[0].url}/askQuestionWithoutStream"
        async with http.post(url, json=body) as response:
            assert (await response.json()) == {"output": stack.model.answer_to(question)}


async def test_a_reader_that_comes_back_in_the_middle_of_thought(stack: Stack) -> None:
    """Behind any entry of thought the rest follows, on another server as well."""
    await stack.have(servers=2, workers=1)
    question = f"Where was I? [[think={THOUGHTS} interval_ms=5 hold=0]]"
    answer = await (await stack.person()).ask(question)
    await answer.thought(thoughts(question))
    back = await stack.person(stack.servers[1])
    half = len(answer.metas) // 2
    again = await back.resume_behind(answer, half)
    stack.model.go_on(question)
    await stack.whole(answer, again)
    assert again.reasoning == answer.reasoning == thoughts(question)


@ONE_MODE
async def test_a_worker_that_is_killed_in_the_middle_of_thought(stack: Stack) -> None:
    """Another one begins anew, and the thought of the first is void."""
    await stack.have(servers=1, workers=2)
    question = f"Who thinks on? [[think={THOUGHTS} interval_ms=5 hold=0]]"
    answer = await (await stack.person()).ask(question)
    await answer.thought(thoughts(question))
    await stack.kill(await stack.busy_worker(answer))
    await stack.model.wait_requests(question, 2)
    stack.model.go_on(question)
    await stack.whole(answer)
    assert (answer.attempt, answer.reasoning) == (2, thoughts(question))


@ONE_MODE
async def test_a_stop_in_the_middle_of_thought(stack: Stack) -> None:
    """The model's connection is closed, and what was thought is kept."""
    await stack.have(servers=1, workers=1)
    question = f"Enough? [[think={THOUGHTS} interval_ms=5 hold=0]]"
    person = await stack.person()
    answer = await person.ask(question)
    await answer.thought(thoughts(question))
    assert (await person.stop(answer.question_id))["status"] == "stopped"
    await answer.ended()
    await stack.model.wait_closed(question)
    assert (answer.status, answer.text) == ("stopped", "")
    assert answer.reasoning == thoughts(question)


@ONE_MODE
async def test_a_stop_in_thought_with_a_dead_worker(stack: Stack) -> None:
    """The server ends the answer in its place, and repeats what was thought."""
    await stack.have(servers=1, workers=1)
    question = f"And now? [[think={THOUGHTS} interval_ms=5 hold=0]]"
    person = await stack.person()
    answer = await person.ask(question)
    await answer.thought(thoughts(question))
    await stack.kill(stack.workers[0])
    assert (await person.stop(answer.question_id))["status"] == "stopped"
    await answer.ended()
    assert (answer.status, answer.reasoning) == ("stopped", thoughts(question))


@ONE_MODE
async def test_thought_that_takes_longer_than_the_patience_with_silence(own_stack: Stack) -> None:
    """A model that thinks aloud may do so for many times as long as one may be silent."""
    settings = {"MODEL_FIRST_PIECE_TIMEOUT_S": "1", "MODEL_IDLE_TIMEOUT_S": "1"}
    await asyncio.gather(own_stack.server(), own_stack.worker(**settings))
    question = "How long? [[think=60 interval_ms=60]]"
    answer = await (await own_stack.person()).ask(question)
    await own_stack.whole(answer)
    assert answer.reasoning == thoughts(question, 60)


@ONE_MODE
async def test_silent_thought_as_long_as_patience_lasts(own_stack: Stack) -> None:
    """A model that thinks without a sign is waited for until its text begins."""
    settings = {"MODEL_FIRST_PIECE_TIMEOUT_S": "30", "MODEL_IDLE_TIMEOUT_S": "1"}
    await asyncio.gather(own_stack.server(), own_stack.worker(**settings))
    for question in ("Headers late? [[first_delay_ms=2500]]", "Text late? [[hold=0]]"):
        answer = await (await own_stack.person()).ask(question)
        if "hold" in question:
            await own_stack.model.wait_open(question)
            loop = asyncio.get_running_loop()
            silent = asyncio.Event()
            loop.call_later(2.5, silent.set)  # longer than silence in mid-answer may last
            await silent.wait()
            own_stack.model.go_on(question)
        await own_stack.whole(answer)
