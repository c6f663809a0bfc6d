"""Whatever a server sends over the Responses API becomes what LangChain takes, or is left out."""

import json
from collections.abc import Iterable
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessageChunk
from langchain_openai.chat_models.base import _convert_responses_chunk_to_generation_chunk

from backend.llm.event_parts import Incomplete
from backend.llm.response_events import ResponseEvents

Event = dict[str, Any]

REQUEST = httpx2.Request("POST", "http://localhost/v1/responses")


def event(kind: str, **others: Any) -> Event:
    """An event of this type."""
    return {"type": f"response.{kind}", "sequence_number": 1, **others}


def text(delta: Any, **others: Any) -> Event:
    """A piece of text."""
    place = {"item_id": "msg_1", "output_index": 1, "content_index": 0}
    return event("output_text.delta", **place, delta=delta, logprobs=[]) | others


def completed(**others: Any) -> Event:
    """The event at the end of an answer."""
    response = {"id": "resp_1", "object": "response", "status": "completed", "model": "m"}
    return event("completed", response={**response, "output": [], **others})


END = completed()


def take(answer: ResponseEvents, *events: Any) -> list[Any]:
    """What becomes of events that come together."""
    return list(answer.take([("", json.dumps(event).encode()) for event in events]))


def messages(events: Iterable[Any]) -> list[AIMessageChunk]:
    """What LangChain makes of events; it raises where it does not take one."""
    index = output = sub = -1
    indices: dict[str, int] = {}
    made = []
    for told in events:
        index, output, sub, generation = _convert_responses_chunk_to_generation_chunk(
            told, index, output, sub, item_output_indices=indices
        )
        if generation:
            assert isinstance(generation.message, AIMessageChunk)
            made.append(generation.message)
    return made


def said(*events: Any) -> AIMessageChunk:
    """The message that LangChain makes of an answer whose events come one by one."""
    answer = ResponseEvents(REQUEST)
    first, *others = messages(given for event in events for given in take(answer, event))
    assert list(answer.end()) == []
    for other in others:
        first += other
    return first


def blocks(*events: Any, kind: str) -> list[Any]:
    """The blocks of this type in the message that LangChain makes."""
    content = said(*events).content
    return [block for block in content if isinstance(block, dict) and block["type"] == kind]


# Text


def test_text_comes_through() -> None:
    """Pieces of text are joined to one block, and the end is told with what it was."""
    message = said(
        event("created", response={"id": "resp_1"}),
        event("in_progress", response={"id": "resp_1"}),
        text("a"),
        text("b"),
        completed(usage={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}),
    )
    assert message.text == "ab"
    assert message.response_metadata["status"] == "completed"
    assert message.response_metadata["model_name"] == "m"
    assert message.usage_metadata is not None
    assert message.usage_metadata["output_tokens"] == 2
    assert message.chunk_position == "last"


def test_deltas_that_come_together_are_one() -> None:
    """Neighbours in the same part are joined; others are not."""
    answer = ResponseEvents(REQUEST)
    given = take(answer, text("a"), text("b"), text("c", content_index=1), text("d"))
    assert [told.delta for told in given] == ["ab", "c", "d"]
    assert answer.has_begun


@pytest.mark.parametrize(
    "odd",
    [
        {"type": "response.output_text.delta", "delta": "b"},
        {"type": "response.output_text.delta", "delta": "b", "item_id": 7, "output_index": "a"},
        text("b", logprobs=None, content_index=None),
    ],
    ids=json.dumps,
)
def test_a_delta_without_its_place_is_text(odd: Event) -> None:
    """Where a delta does not say where it belongs, its text counts all the same."""
    assert said(text("a"), odd, END).text == "ab"


ODD: list[Any] = [
    None,
    [],
    "a",
    {},
    {"type": None},
    {"type": ["a"]},
    {"type": "response.unheard_of", "delta": "b"},
    text(None),
    text(""),
    text(["b"]),
    event("created"),
    event("created", response="a"),
    event("completed"),
    event("output_item.added"),
    event("output_item.added", item=None, output_index=0),
    event("output_item.added", item={"type": "function_call"}, output_index=0),
    event("output_item.added", item={"type": "unheard_of"}, output_index=0),
    event("output_item.done", item={"type": "reasoning"}, output_index=0),
    event("output_text.annotation.added", annotation="a"),
    event("output_text.done"),
    event("function_call_arguments.delta"),
    event("reasoning_summary_part.added"),
    event("reasoning_summary_text.delta"),
    event("reasoning_text.delta", delta=7),
    event("refusal.delta"),
    event("refusal.done"),
]


@pytest.mark.parametrize("odd", ODD, ids=json.dumps)
def test_an_odd_event_destroys_no_answer(odd: Any) -> None:
    """What is of another type, unknown, or incomplete is left out."""
    assert said(text("a"), odd, text("b"), END).text == "ab"


# Thought


def test_summaries_of_thought_come_through() -> None:
    """What OpenAI tells of a model's thought is a block of reasoning."""
    place = {"item_id": "rs_1", "output_index": 0, "summary_index": 0}
    [block] = blocks(
        event(
            "output_item.added",
            output_index=0,
            item={"id": "rs_1", "type": "reasoning", "summary": []},
        ),
        event("reasoning_summary_part.added", **place, part={"type": "summary_text", "text": ""}),
        event("reasoning_summary_text.delta", **place, delta="a"),
        event("reasoning_summary_text.delta", **place, delta="b"),
        text("c"),
        END,
        kind="reasoning",
    )
    assert [part["text"] for part in block["summary"]] == ["ab"]


@pytest.mark.parametrize("place", [{}, {"item_id": "rs_1", "output_index": 0, "content_index": 0}])
def test_thought_of_open_models_comes_through(place: Event) -> None:
    """What LangChain would leave out is told as a summary."""
    thoughts = [event("reasoning_text.delta", **place, delta=delta) for delta in "ab"]
    [block] = blocks(*thoughts, text("c"), END, kind="reasoning")
    assert [part["text"] for part in block["summary"]] == ["ab"]
    assert said(*thoughts, text("c"), END).text == "c"


# Refusals, tools


def refusal(kind: str, **others: Any) -> Event:
    """An event of a refusal."""
    return event(f"refusal.{kind}", item_id="msg_1", output_index=1, content_index=0, **others)


def test_a_refusal_is_text_as_it_comes() -> None:
    """The pieces of a refusal do not wait for its end, which tells what they were, once."""
    events = [
        refusal("delta", delta="n"),
        refusal("delta", delta="o"),
        refusal("done", refusal="no"),
    ]
    assert said(*events, END).text == "no"
    assert [block["refusal"] for block in blocks(*events, END, kind="refusal")] == [""]


def test_a_refusal_may_come_whole() -> None:
    """A refusal without pieces is told at its end."""
    [block] = blocks(refusal("done", refusal="no"), END, kind="refusal")
    assert block["refusal"] == "no"


def test_calls_of_tools_come_through() -> None:
    """A tool's name and arguments are those of the SDK's own stream."""
    call = {"id": "fc_1", "type": "function_call", "call_id": "c", "name": "f", "arguments": ""}
    place = {"item_id": "fc_1", "output_index": 0}
    message = said(
        event("output_item.added", output_index=0, item=call),
        event("function_call_arguments.delta", **place, delta='{"a":'),
        event("function_call_arguments.delta", **place, delta="1}"),
        END,
    )
    [told] = message.tool_calls
    assert (told["name"], told["args"], told["id"]) == ("f", {"a": 1}, "c")


# The end


def test_an_answer_that_is_cut_short_says_why() -> None:
    """An answer that came to its bound is whole, and tells the reason."""
    response = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    message = said(text("a"), event("incomplete", response=response))
    assert message.response_metadata["status"] == "incomplete"
    assert message.response_metadata["incomplete_details"] == {"reason": "max_output_tokens"}


@pytest.mark.parametrize(
    "odd",
    [
        {"status": None},
        {"id": 7, "model": ["m"], "created_at": "a", "metadata": [], "service_tier": ["a"]},
        {"usage": "a", "incomplete_details": "a", "output": None, "error": None},
        {"usage": {"input_tokens": None, "output_tokens_details": []}},
    ],
    ids=json.dumps,
)
def test_an_odd_end_is_one(odd: Event) -> None:
    """Fields of other types at the end destroy no answer, and are no token counts."""
    message = said(text("a"), completed(**odd))
    assert (message.text, message.usage_metadata) == ("a", None)
    assert message.response_metadata["status"] == "completed"


def test_counts_that_are_not_told_are_not_invented() -> None:
    """Of the token counts, those are there that the provider has told."""
    usage = {
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": "a",
    }
    counts = said(text("a"), completed(usage=usage)).usage_metadata
    assert counts is not None
    assert counts["output_tokens"] == 2
    assert counts["output_token_details"] == {"reasoning": 1}
    assert said(text("a"), completed(usage={"input_tokens": 1})).usage_metadata is not None


OUTPUT = [
    {"id": "rs_1", "type": "reasoning", "summary": []},
    None,
    {"id": "msg_1", "type": "message", "content": [{"type": "output_text", "text": "a"}, None]},
    {"id": "msg_2", "type": "message", "content": [{"type": "output_text", "text": "b"}]},
    {"id": "msg_3", "type": "message", "content": None},
]


def test_text_that_comes_with_the_end_only_is_given() -> None:
    """A server that sends no pieces tells its text at the end; one that does, not once more."""
    assert said(completed(output=OUTPUT)).text == "ab"
    assert said(text("ab"), completed(output=OUTPUT)).text == "ab"


def test_a_refusal_that_comes_with_the_end_only_is_given() -> None:
    """A refusal without an event of its own is told as one."""
    output = [{"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}]
    [block] = blocks(completed(output=output), kind="refusal")
    assert block["refusal"] == "no"


def test_a_body_that_just_ends_has_broken_off() -> None:
    """Without an event that tells the end, an answer is not whole, [DONE] or not."""
    for events in ([], [("", b"[DONE]")]):
        answer = ResponseEvents(REQUEST)
        take(answer, text("a"))
        list(answer.take(events))
        with pytest.raises(Incomplete):
            answer.end()


def test_nothing_follows_the_end() -> None:
    """An answer that is whole is over: no counts come behind it."""
    answer = ResponseEvents(REQUEST)
    take(answer, text("a"))
    assert not answer.is_over
    take(answer, END)
    assert answer.is_whole
    assert answer.is_over


# A whole response in place of a stream


@pytest.mark.parametrize("status", ["completed", "incomplete", None])
def test_a_whole_response_is_read(status: str | None) -> None:
    """A response that came as JSON says all that it has to say at once."""
    answer = ResponseEvents(REQUEST)
    document = json.dumps({"object": "response", "status": status, "output": OUTPUT}).encode()
    assert "".join(message.text for message in messages(answer.take_document(document))) == "ab"
    assert answer.is_whole


@pytest.mark.parametrize("document", [b"{}", b'{"detail": "no"}', b"{"])
def test_json_that_is_no_response_is_refused(document: bytes) -> None:
    """Some other JSON is no answer."""
    with pytest.raises(ValueError, match=r"no response|Expecting"):
        list(ResponseEvents(REQUEST).take_document(document))


# Errors

ERROR = {"code": "rate_limit_exceeded", "message": "too much", "param": None, "type": "requests"}


@pytest.mark.parametrize(
    "failing",
    [
        event("failed", response={"id": "resp_1", "status": "failed", "error": ERROR}),
        event("completed", response={"id": "resp_1", "status": "failed", "error": ERROR}),
        {"type": "error", "error": ERROR},
        {"error": ERROR},
    ],
    ids=json.dumps,
)
def test_an_error_is_raised_with_its_code(failing: Event) -> None:
    """LangChain would raise the text of an error alone, and its code would be lost."""
    with pytest.raises(openai.APIError, match="too much") as raised:
        said(text("a"), failing)
    assert (raised.value.body, raised.value.code) == (ERROR, "rate_limit_exceeded")


def test_an_error_may_be_the_event() -> None:
    """An event of the type `error` has its code and message in it, or beside it."""
    failing = {"type": "error", "code": "server_error", "message": "gone", "param": None}
    for kind in ("", "error"):
        with pytest.raises(openai.APIError, match="gone") as raised:
            list(ResponseEvents(REQUEST).take([(kind, json.dumps(failing).encode())]))
        assert raised.value.code == "server_error"


@pytest.mark.parametrize("failing", [event("failed"), event("failed", response={"error": None})])
def test_an_answer_may_fail_without_a_word(failing: Event) -> None:
    """A failure that tells nothing is one."""
    with pytest.raises(openai.APIError):
        said(text("a"), failing)


def test_what_comes_before_a_failure_counts() -> None:
    """The text before a failure is given, though they come together."""
    told = [("", json.dumps(text(delta)).encode()) for delta in "ab"]
    events = ResponseEvents(REQUEST).take([*told, ("error", b"gone")])
    assert next(events).delta == "ab"
    with pytest.raises(openai.APIError, match="gone"):
        next(events)


# Anything at all

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(0, 2)
    | st.sampled_from(["", "a", "message", "reasoning"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["id", "type", "summary"]), inner)
    ),
    max_leaves=5,
)
KIND = st.sampled_from(
    [
        "created",
        "in_progress",
        "output_text.delta",
        "output_text.done",
        "refusal.delta",
        "refusal.done",
        "reasoning_text.delta",
        "reasoning_summary_text.delta",
        "reasoning_summary_part.added",
        "output_item.added",
        "output_item.done",
        "output_text.annotation.added",
        "function_call_arguments.delta",
    ]
)
NAMES = st.sampled_from(
    [
        "item_id",
        "output_index",
        "content_index",
        "summary_index",
        "delta",
        "item",
        "refusal",
        "annotation",
        "annotation_index",
        "response",
        "part",
        "sequence_number",
    ]
)


@given(st.lists(st.tuples(KIND, st.dictionaries(NAMES, JSON)), max_size=5))
def test_langchain_takes_whatever_comes_out(odd: list[tuple[str, Event]]) -> None:
    """No event whatever makes LangChain fail: there is nothing that it could not take."""
    answer = ResponseEvents(REQUEST)
    events = [{**others, "type": f"response.{kind}"} for kind, others in odd]
    given = messages(take(answer, text("a"), *events, text("b"), END))
    whole = "".join(message.text for message in given)
    assert whole.startswith("a")
    assert whole.endswith("b")
