"""prompt | model | parser: any chat model of LangChain as a chain that answers questions."""

import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import Runnable

from ..protocol.errors import (
    EmptyAnswer,
    ModelError,
    ModelFailure,
    ModelTimeout,
    ModelUnavailable,
    PolicyRefused,
)
from ..settings import SYSTEM_PROMPT
from .base import Finish, Piece
from .failures import failure_of, provider_error
from .message_reader import MessageReader

BROKE_OFF = "The language model broke off in the middle of its answer."
CALLS_TOOLS = "The language model asked for a tool, and there is none."
OUT_OF_LENGTH = "The language model reached its limit before it said anything."

# Integrations whose providers tell a reason with every whole answer, and which end without
# one, as if nothing had happened, where the connection was cut: seen by cutting it.
TELL_THEIR_END = frozenset({
    "langchain_anthropic", "langchain_deepseek", "langchain_google_genai", "langchain_groq",
    "langchain_ollama", "langchain_openai",
})  # fmt: skip

# What says less, in the middle of an answer, than that it broke off.
_IN_GENERAL = (ModelUnavailable, ModelTimeout, ModelError)


def prompt_of(system_prompt: str) -> ChatPromptTemplate:
    """The prompt with this text as its system message, in which `{topic}` is the topic.

    Any other brace is a brace, there and in the question, which is a message of its own.
    Of an empty text comes no system message.
    """
    literal = system_prompt.replace("{", "{{").replace("}", "}}")
    system = ("system", literal.replace("{{topic}}", "{topic}"))
    question = MessagesPlaceholder("question")
    return ChatPromptTemplate.from_messages([system, question] if system_prompt else [question])


PROMPT = prompt_of(SYSTEM_PROMPT)


class ModelChain:
    """Answers questions with any chat model of LangChain.

    `prompt` is any prompt that takes `topic` and the list of messages `question`; `setting`
    names the variable that the model's name stands in, for the log. A model that
    `raises_when_cut` need not tell a reason for its end.

    LangChain's own `prompt | model | parser` starts a task for every piece, which costs as
    much as the model's part; so the two are run one after the other.
    """

    def __init__(
        self,
        model: BaseChatModel,
        prompt: Runnable[Any, Any] = PROMPT,
        *,
        setting: str = "",
        raises_when_cut: bool = False,
        close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._model = model
        self._prompt = prompt
        self._setting = setting
        self._close = close
        families = {kind.__module__.partition(".")[0] for kind in type(model).__mro__}
        self._needs_reason = not (raises_when_cut or families.isdisjoint(TELL_THEIR_END))
        self._sums_usage = "langchain_openai" not in families  # there, a count is a total

    async def aclose(self) -> None:
        """Close what the model holds open, such as idle connections to its provider."""
        if self._close:
            await self._close()

    async def stream(self, topic: str, question: str) -> AsyncGenerator[Piece]:
        """Give the pieces of an answer, thought among them, and last how it finished.

        Raises ModelFailure, whatever went wrong.
        Closing or cancelling closes the connection to the provider at once.
        An answer that breaks off is a failure, too: it would look whole. So is one without
        any text.
        """
        reader = MessageReader(sums_usage=self._sums_usage)
        values = {"topic": topic, "question": [HumanMessage(content=question)]}
        try:
            messages = await self._prompt.ainvoke(values)
            async with aclosing(self._model.astream(messages)) as said:  # type: ignore[type-var]
                async for message in said:
                    for piece in reader.read(message):
                        yield piece
        except BaseException as exc:
            # LangChain does not close the generators of its steps. They go with the
            # frames that know them, and with them the connection to the provider; but
            # an exception, as long as anybody keeps it, keeps those frames.
            traceback.clear_frames(exc.__traceback__)
            if not isinstance(exc, Exception):
                raise
            raise self._failure(exc, begun=reader.has_begun) from exc
        for piece in reader.end():
            yield piece
        yield self._checked(reader.finish, has_text=reader.has_text)

    def _failure(self, exc: Exception, *, begun: bool) -> ModelFailure:
        failure = failure_of(exc, _name_of(self._model), self._setting)
        if not begun or type(failure) not in _IN_GENERAL:
            return failure
        kind = type(failure) if provider_error(exc).kind else ModelError
        return kind(BROKE_OFF, retry_after_s=failure.retry_after_s, detail=failure.detail)

    def _checked(self, finish: Finish, *, has_text: bool) -> Finish:
        """The finish of a whole answer; raises ModelFailure where it is none."""
        match finish.reason:
            case None if self._needs_reason:
                raise ModelError(BROKE_OFF, detail="no finish reason")
            case "error":
                raise ModelError(BROKE_OFF if has_text else None, detail="finish reason error")
            case _ if has_text:
                return finish
            case "content_filter" | "refusal":
                raise PolicyRefused(detail=f"no text, finish reason {finish.reason}")
            case "tool_calls":
                raise EmptyAnswer(CALLS_TOOLS, detail="no text, finish reason tool_calls")
            case "length":
                raise EmptyAnswer(OUT_OF_LENGTH, detail="no text, finish reason length")
            case _:
                raise EmptyAnswer(detail="no text")


def _name_of(model: BaseChatModel) -> str:
    """The name of the model, by which its integration knows it."""
    names = (getattr(model, name, None) for name in ("model_name", "model", "model_id"))
    return next((name for name in names if isinstance(name, str)), "")
