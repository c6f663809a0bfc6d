"""The model of --demo, which needs no internet and says that it is none."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from .langchain_model import ModelChain

PACE_S = 0.03  # between two pieces: about as fast as a hosted model speaks
FIRST_PIECE_S = 0.4

_ANSWER = """\
This is a demo: no language model has read your question. A small program inside \
the server makes this text up, so that you can see how an answer streams.

You asked: {question}

What you are looking at is real, though. Your question went into a work queue, a \
Redis stream shared by all workers. A worker took it, and writes every piece of this \
text into the stream OPENAI_STREAM, between a START and an END label. The server reads \
that stream and sends you the entries as they appear.

Try this: reload the page now, in the middle of the answer. It goes on where it was, \
because the stream remembers what your browser has forgotten. Or open a second window and \
ask something else there: neither of you will see a word that is meant for the other.

To talk to a real model, put OPENAI_API_KEY and REDIS_URL into a file named .env (there is \
an example beside the README) and start the same command without --demo."""


class DemoModel(BaseChatModel):
    """A chat model of LangChain that says that it is a demo, at a natural pace."""

    pace_s: float = PACE_S
    first_piece_s: float = FIRST_PIECE_S

    @property
    def _llm_type(self) -> str:
        return "demo"

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        await asyncio.sleep(self.first_piece_s)
        for word in _words(messages):
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))
            await asyncio.sleep(self.pace_s)
        last = AIMessageChunk(content="", response_metadata={"finish_reason": "stop"})
        yield ChatGenerationChunk(message=last)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        message = AIMessage(
            content="".join(_words(messages)), response_metadata={"finish_reason": "stop"}
        )
        return ChatResult(generations=[ChatGeneration(message=message)])


def _words(messages: list[BaseMessage]) -> list[str]:
    """The demo's answer, cut as a model would: each piece a word with the space before it."""
    text = _ANSWER.replace("{question}", messages[-1].text)
    words = text.split(" ")
    return words[:1] + [f" {word}" for word in words[1:]]


def demo_chain() -> ModelChain:
    """The real chain around the demo model."""
    return ModelChain(DemoModel())
