"""What LangChain's messages say, in the forms in which its integrations give them."""

from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.tool import tool_call_chunk

from backend.llm.base import Finish, Reasoning
from backend.llm.message_reader import MessageReader
from backend.protocol.entries import Usage


def chunk(content: Any = "", **others: Any) -> AIMessageChunk:
    """A message of a stream."""
    return AIMessageChunk(content=content, **others)


def read(*messages: AIMessage, sums_usage: bool = True) -> tuple[list[str | Reasoning], Finish]:
    """What these messages say, and how the answer finished."""
    reader = MessageReader(sums_usage=sums_usage)
    pieces = [piece for message in messages for piece in reader.read(message)]
    return pieces + list(reader.end()), reader.finish


THOUGHT = [
    (
        "beside the text, as DeepSeek and Ollama",
        chunk(additional_kwargs={"reasoning_content": "hm"}),
    ),
    ("by another name", chunk(additional_kwargs={"reasoning": "hm"})),
    (
        "Anthropic",
        chunk(
            [{"type": "thinking", "thinking": "hm", "index": 0}],
            response_metadata={"model_provider": "anthropic"},
        ),
    ),
    (
        "Responses",
        chunk(
            [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}],
            response_metadata={"model_provider": "openai"},
        ),
    ),
    (
        "Bedrock",
        chunk(
            [{"type": "reasoning_content", "reasoning_content": {"text": "hm"}}],
            response_metadata={"model_provider": "bedrock_converse"},
        ),
    ),
    ("LangChain's own", chunk([{"type": "reasoning", "reasoning": "hm"}])),
]


@pytest.mark.parametrize("message", [m for _, m in THOUGHT], ids=[name for name, _ in THOUGHT])
def test_thought_is_told_from_text(message: AIMessageChunk) -> None:
    """Thought comes as thought, in whatever form the integration gives it."""
    pieces, _ = read(message, chunk("The sea."))
    assert [piece for piece in pieces if piece != Reasoning()] == [Reasoning("hm"), "The sea."]


def test_parts_of_text_are_joined() -> None:
    """An answer of several parts is one text."""
    parts = [{"type": "text", "text": "The "}, {"type": "text", "text": "sea."}]
    assert read(chunk(parts))[0] == ["The ", "sea."]


def test_a_message_in_one_piece_is_an_answer() -> None:
    """A model that cannot stream gives its answer whole."""
    pieces, finish = read(AIMessage("The sea.", response_metadata={"finish_reason": "stop"}))
    assert (pieces, finish) == (["The sea."], Finish("stop"))


def test_empty_messages_say_nothing() -> None:
    """What says nothing is not given on."""
    assert read(chunk(), chunk("x"), chunk([]), chunk())[0] == ["x"]


@pytest.mark.parametrize(
    "message",
    [
        chunk(
            [{"type": "refusal", "refusal": "No."}], response_metadata={"model_provider": "openai"}
        ),
        chunk(additional_kwargs={"refusal": "No."}),
    ],
    ids=["Responses", "Chat Completions"],
)
def test_a_refusal_is_text_with_a_reason(message: AIMessageChunk) -> None:
    """The words of a refusal are shown, and the reason says what they are."""
    pieces, finish = read(message, chunk(response_metadata={"finish_reason": "stop"}))
    assert (pieces, finish.reason) == (["No."], "refusal")


def test_a_tool_that_is_called_is_a_sign_of_life_and_a_reason() -> None:
    """A call is no text; where the provider calls it a stop, the reason says what it was."""
    call = chunk(tool_call_chunks=[tool_call_chunk(name="f", args="{}", id="1", index=0)])
    pieces, finish = read(call, chunk(response_metadata={"done_reason": "stop"}))
    assert set(pieces) == {Reasoning()}
    assert finish.reason == "tool_calls"


def test_thought_without_text_is_a_sign_of_life() -> None:
    """Thought that the provider keeps to itself is told all the same."""
    message = chunk(
        [{"type": "reasoning", "summary": []}], response_metadata={"model_provider": "openai"}
    )
    assert read(message)[0] == [Reasoning()]


def usage(tokens: int, answer: int, **details: int) -> Any:
    """A count of tokens as LangChain gives it."""
    return {
        "input_tokens": tokens,
        "output_tokens": answer,
        "total_tokens": tokens + answer,
        **({"output_token_details": details} if details else {}),
    }


def test_counts_of_tokens_are_summed_up() -> None:
    """Several counts are summands, as LangChain's own adding of messages has it."""
    _, finish = read(
        chunk("x", usage_metadata=usage(5, 8)), chunk(usage_metadata=usage(0, 1, reasoning=3))
    )
    assert finish.usage == Usage(5, 9, 3)


def test_running_totals_are_not_summed_up() -> None:
    """Where each count is a total, the last one holds."""
    counts = [chunk("x", usage_metadata=usage(5, answer)) for answer in (1, 2, 3)]
    assert read(*counts, sums_usage=False)[1].usage == Usage(5, 3)


def test_what_is_not_told_is_unknown() -> None:
    """LangChain writes 0 where a provider told nothing; that is no count."""
    assert read(chunk("x", usage_metadata=usage(0, 0)))[1].usage is None
    assert read(chunk("x", usage_metadata=usage(0, 4)))[1].usage == Usage(None, 4)
    assert read(chunk("x", usage_metadata=usage(3, 4, reasoning=0)))[1].usage == Usage(3, 4, 0)


def test_the_model_is_the_one_that_the_provider_names() -> None:
    """The name comes from the answer, not from the settings."""
    named = {"model_name": "gpt-6-luna-2026-09-01", "finish_reason": "stop"}
    assert read(chunk("x", response_metadata=named))[1].model == "gpt-6-luna-2026-09-01"
    assert read(chunk("x"))[1].model is None


def test_what_has_come_is_known() -> None:
    """Whether anything was said, and whether it was text, is known at each moment."""
    reader = MessageReader()
    list(reader.read(chunk(additional_kwargs={"reasoning_content": "hm"})))
    assert (reader.has_begun, reader.has_text) == (True, False)
    list(reader.read(chunk("x")))
    assert (reader.has_begun, reader.has_text) == (True, True)
