"""The model that --demo embeds: it streams, and says that it is none."""

import asyncio
from contextlib import aclosing

from langchain_core.messages import HumanMessage

from backend.llm.base import Finish, Piece
from backend.llm.demo_model import DemoModel, demo_chain
from backend.llm.langchain_model import ModelChain
from tests.fakes.rig import PATIENCE_S, is_quiet


async def quick_demo_answer(question: str) -> list[Piece]:
    """All that the demo says, through the real chain, without pauses."""
    chain = ModelChain(DemoModel(pace_s=0, first_piece_s=0))
    async with aclosing(chain.stream("Redis", question)) as pieces:
        return [piece async for piece in pieces]


async def test_the_demo_says_that_it_is_one() -> None:
    """Nobody takes the demo's answer for that of a language model."""
    *pieces, finish = await quick_demo_answer("What is a stream?")
    text = "".join(str(piece) for piece in pieces)
    assert text.startswith("This is a demo: no language model has read your question.")
    assert finish == Finish("stop")


async def test_the_demo_streams_word_by_word() -> None:
    """The answer comes in many pieces, none of them empty."""
    *pieces, _ = await quick_demo_answer("What is a stream?")
    assert len(pieces) > 100
    assert all(pieces)


async def test_the_demo_repeats_the_question_as_it_is() -> None:
    """Braces and line breaks in a question are nothing special."""
    question = "What does {topic} mean\nin {question}, {0} or {{this}}?"
    pieces = await quick_demo_answer(question)
    assert f"You asked: {question}" in "".join(str(piece) for piece in pieces[:-1])


async def test_the_demo_answers_in_one_piece_too() -> None:
    """Asked without a stream, the demo says the same."""
    question = "What is a stream?"
    whole = await DemoModel().ainvoke([HumanMessage(content=question)])
    pieces = await quick_demo_answer(question)
    assert whole.text == "".join(str(piece) for piece in pieces[:-1])


async def test_the_demo_chain_takes_its_time() -> None:
    """At its natural pace, the first piece comes after a moment, not at once."""
    async with aclosing(demo_chain().stream("Redis", "What is a stream?")) as pieces:
        task = asyncio.ensure_future(anext(pieces))
        assert await is_quiet(task)
        async with asyncio.timeout(PATIENCE_S):
            assert await task == "This"
