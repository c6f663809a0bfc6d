"""The sequence that streams at little cost, held against LangChain's own."""

from contextlib import aclosing
from typing import Any
from uuid import UUID

import pytest
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda

from backend.llm.sequence import Sequence

WORDS = "one two three"
VALUES = {"topic": "the sea"}


class Tracer(AsyncCallbackHandler):
    """What happens, in order: with names, tags and the run above it."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self._names: dict[UUID | None, str] = {None: "nobody"}

    def _begun(self, run_id: UUID, parent_run_id: UUID | None, name: str, tags: Any) -> None:
        self._names[run_id] = name
        self.events.append(("begun", name, self._names[parent_run_id], sorted(tags or [])))

    async def on_chain_start(self, *_: Any, run_id: UUID, **kwargs: Any) -> None:
        """A sequence, a prompt or a parser begins."""
        self._begun(run_id, kwargs["parent_run_id"], kwargs["name"], kwargs["tags"])

    async def on_chat_model_start(self, *_: Any, run_id: UUID, **kwargs: Any) -> None:
        """The model begins."""
        self._begun(run_id, kwargs["parent_run_id"], "model", kwargs["tags"])

    async def on_llm_end(self, response: Any, *, run_id: UUID, **_: Any) -> None:
        """The model has ended."""
        self.events.append(("ended", self._names[run_id], response.generations[0][0].text))

    async def on_chain_end(self, outputs: Any, *, run_id: UUID, **_: Any) -> None:
        """A sequence, a prompt or a parser has ended."""
        self.events.append(("ended", self._names[run_id], str(outputs)))

    async def on_chain_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """One of them has failed."""
        self.events.append(("failed", self._names[run_id], repr(error)))


def steps(parser: Runnable[Any, str] | None = None) -> tuple[Runnable[Any, Any], ...]:
    """A prompt, a model that says three words, and a parser."""
    prompt = ChatPromptTemplate.from_messages([("system", "Speak of {topic}.")])
    model = GenericFakeChatModel(messages=iter([AIMessage(content=WORDS)]))
    return prompt, model, parser or StrOutputParser()


def ours(steps: tuple[Runnable[Any, Any], ...]) -> Sequence:
    """Our sequence of these steps."""
    first, *middle, last = steps
    return Sequence(first=first, middle=middle, last=last)


async def traced(chain: Runnable[Any, str], fails: bool = False) -> Tracer:
    """Stream an answer, and listen."""
    tracer = Tracer()
    pieces = chain.astream(VALUES, {"callbacks": [tracer], "tags": ["mine"], "run_name": "chain"})
    if fails:
        with pytest.raises(ValueError, match="no"):
            _ = [piece async for piece in pieces]
    else:
        assert "".join([piece async for piece in pieces]) == WORDS
    return tracer


async def test_pieces_come_one_by_one() -> None:
    """The pieces are those of the model."""
    assert [piece async for piece in ours(steps()).astream(VALUES)] == [
        "one",
        " ",
        "two",
        " ",
        "three",
    ]


async def test_a_trace_is_that_of_langchain() -> None:
    """Runs, their names, tags, parents and results are those of `prompt | model | parser`."""
    prompt, model, parser = steps()
    stock = await traced(prompt | model | parser)
    assert (await traced(ours(steps()))).events == stock.events
    assert stock.events[0] == ("begun", "chain", "nobody", ["mine"])


async def test_a_failure_is_traced_as_by_langchain() -> None:
    """A step that fails is reported, and so is the sequence."""

    def refuse(_: Any) -> str:
        raise ValueError("no")

    prompt, model, _ = steps()
    stock = await traced(prompt | model | RunnableLambda(refuse), fails=True)
    mine = await traced(ours((*steps()[:2], RunnableLambda(refuse))), fails=True)
    assert mine.events == stock.events
    assert mine.events[-1] == ("failed", "chain", "ValueError('no')")


async def test_closing_is_traced() -> None:
    """Whoever has heard enough and closes the stream ends the run."""
    tracer = Tracer()
    chain = ours(steps())
    async with aclosing(chain.astream(VALUES, {"callbacks": [tracer]})) as pieces:  # type: ignore[type-var]
        assert await anext(pieces) == "one"
    assert tracer.events[-1] == ("failed", "Sequence", "GeneratorExit()")


async def test_it_can_be_invoked_and_composed() -> None:
    """It is a sequence like any other: it can be invoked, and be a part of a longer one."""
    assert await ours(steps()).ainvoke(VALUES) == WORDS
    longer = ours(steps()) | RunnableLambda(str.upper)
    assert await longer.ainvoke(VALUES) == WORDS.upper()
