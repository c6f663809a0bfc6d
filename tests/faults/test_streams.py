"""A stream for each question: answers stand apart, and all else is as with one for all."""

import pytest

from tests.fakes.programs import RedisServer
from tests.faults.stack import stack_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_stream_for_each_question(redis_of_module: RedisServer) -> None:
    """Answers are read, resumed and taken over there; each stream holds one, and expires."""
    settings = {"USE_XREAD": "true", "OPENAI_STREAM": "OPENAI_STREAM:{questionId}"}
    async with stack_of(redis_of_module, tokens=70, interval_s=0.01, **settings) as stack:
        await stack.have(servers=2, workers=1)
        one, other = stack.servers
        person = await stack.person(one, other)
        answers = [await person.ask(f"Where is {n}?") for n in range(5)]
        await answers[0].received(5)
        late = await stack.late_reader(answers[0], other)
        await stack.kill(one)
        await stack.whole(*answers, late)
        for answer in answers:
            stream = f"OPENAI_STREAM:{answer.question_id}"
            assert await stack.stream(answer) == stream
            assert len(await stack.entries(answer)) == await stack.store.xlen(stream)
            assert 0 < await stack.store.ttl(stream)
            assert not await stack.store.exists(f"answers:{answer.question_id}")
        behind = await (await stack.person(other)).resume_behind(answers[1], 10)
        await stack.whole(behind)
        stack.nothing_odd()
