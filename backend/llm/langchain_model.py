"""prompt | model | parser: the only module that knows LangChain."""

import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import aiohttp
import openai
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import BaseTransformOutputParser
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_openai import ChatOpenAI

from ..errors import (
    ModelError,
    ModelFailure,
    ModelRateLimited,
    ModelRefused,
    ModelTimeout,
    ModelUnavailable,
)
from ..events import Finish
from ..pace import Pace
from ..settings import Settings
from .bounded_response import HEADERS, bound
from .openai_client import EventClient
from .sequence import Sequence

# The topic is a template's value and the question a message of its own, so
# that braces in either are nothing but braces.
PROMPT = ChatPromptTemplate.from_messages(
    [
        (
            "system",
            "You answer questions about {topic} and know the subject well. "
            'Take every question as one about "{topic}", and keep to it.',
        ),
        MessagesPlaceholder("question"),
    ]
)

REASON_CHARS = 64  # of a finish reason: a word, though a provider may send anything

BROKE_OFF = "The language model broke off in the middle of its answer."


class AnswerParser(BaseTransformOutputParser[str]):
    """Gives the text of each piece as it comes, and remembers why the model stopped.

    LangChain's own StrOutputParser hands each piece to a thread on the
    asynchronous path, which costs more than the rest of the chain. And LangChain sums
    up all messages that a parser got once the last one has come, without a pause, for the
    trace of this step alone; so this step is not traced. The model's and the chain's are.
    """

    finish_reason: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0

    def parse(self, text: str) -> str:
        """Text is its own result."""
        return text

    async def atransform(
        self, input: AsyncIterator[Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[str]:
        """Give the text of each message as it comes."""
        async for message in input:
            if reason := message.response_metadata.get("finish_reason"):
                self.finish_reason = str(reason)[:REASON_CHARS]
            if usage := message.usage_metadata:
                self.input_tokens += usage["input_tokens"]
                self.output_tokens += usage["output_tokens"]
            if text := message.text:
                yield text

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> str:
        """The text of a whole answer, for `invoke`."""
        generation = result[0]
        if isinstance(generation, ChatGeneration):
            metadata = generation.message.response_metadata
            self.finish_reason = metadata.get("finish_reason")
        return generation.text


class ModelChain:
    """Answers questions with `prompt | model | parser`.

    `model` is any chat model of LangChain, `prompt` any prompt that takes
    `topic` and the list of messages `question`.
    """

    def __init__(
        self,
        model: BaseChatModel,
        prompt: Runnable[Any, Any] = PROMPT,
        *,
        close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._model = model
        self._prompt = prompt
        self._close = close

    async def aclose(self) -> None:
        """Close what the model holds open, such as idle connections to its provider."""
        if self._close:
            await self._close()

    async def stream(self, topic: str, question: str) -> AsyncGenerator[str | Finish]:
        """Give the pieces of an answer, and last the reason why it ended.

        Raises ModelFailure, whatever went wrong.
        Closing or cancelling closes the connection to the provider at once.
        An answer that breaks off without a finish reason is a failure, too:
        it would look whole.
        """
        parser = AnswerParser()
        chain = Sequence(first=self._prompt, middle=[self._model], last=parser)
        values = {"topic": topic, "question": [HumanMessage(content=question)]}
        begun = False
        try:
            async with aclosing(chain.astream(values)) as pieces:  # type: ignore[type-var]
                async for piece in pieces:
                    begun = True
                    yield piece
        except BaseException as exc:
            # LangChain does not close the generators of its steps. They go with the
            # frames that know them, and with them the connection to the provider; but
            # an exception, as long as anybody keeps it, keeps those frames.
            traceback.clear_frames(exc.__traceback__)
            if not isinstance(exc, Exception):
                raise
            # The failures of model libraries are not one family.
            failure = failure_of(exc)
            raise (ModelError(BROKE_OFF) if begun and failure.retryable else failure) from exc
        if parser.finish_reason is None:
            raise ModelError(BROKE_OFF)
        yield Finish(parser.finish_reason, parser.input_tokens, parser.output_tokens)


def failure_of(exc: Exception) -> ModelFailure:
    """What a failure of LangChain or of the OpenAI client means for the person who asked."""
    match exc:
        case ModelFailure():
            return exc
        case openai.RateLimitError():
            return ModelRateLimited()
        case openai.APITimeoutError() if _has_cause(exc, aiohttp.ClientConnectorError):
            # The client's aiohttp transport calls every failed connection a timeout.
            return ModelUnavailable()
        case openai.APITimeoutError() | TimeoutError():
            return ModelTimeout()
        case openai.APIConnectionError() | openai.InternalServerError():
            return ModelUnavailable()
        case openai.APIStatusError():
            return ModelRefused()
        case _:
            return ModelError()


def _has_cause(exc: BaseException | None, kind: type[BaseException]) -> bool:
    while exc and not isinstance(exc, kind):
        exc = exc.__cause__
    return exc is not None


def openai_chain(settings: Settings) -> ModelChain:
    """The chain of the tutorial, with the provider that the settings name."""
    patience_s = max(settings.model_first_piece_timeout_s, settings.model_idle_timeout_s)
    # Ours, because the one that LangChain makes is shared, and never closed. Its
    # aiohttp transport takes a third less time for each piece than the default one.
    http_client = openai.DefaultAioHttpClient(headers=HEADERS, event_hooks={"response": [bound]})
    access: dict[str, Any] = {
        "api_key": settings.openai_api_key,
        "organization": settings.openai_organization or None,
        "base_url": settings.openai_base_url or None,
        "max_retries": settings.model_retries,
        # The worker's own timeouts decide, between two pieces as well; this
        # one only frees the connection where a cancellation could not.
        "timeout": patience_s + 5,
    }
    client = EventClient(**access, http_client=http_client)
    client.pace = Pace(settings.write_linger_ms / 1000)
    model = ChatOpenAI(
        **access,
        model=settings.openai_model,
        async_client=client.chat.completions,
        root_async_client=openai.AsyncOpenAI(**access, http_client=http_client),
        # Off: it is built on asyncio.wait_for, which before Python 3.12
        # swallows a cancellation that meets a piece (seen with
        # langchain-openai 1.7.3): a stop would go unheard.
        stream_chunk_timeout=None,
    )
    return ModelChain(model, close=http_client.aclose)
