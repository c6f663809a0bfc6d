"""Whatever a server sends as Chat Completions becomes what LangChain takes, or is left out."""

import json
from collections.abc import Sequence
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessageChunk
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from backend.llm.chat_events import ChatEvents, join_texts, text_alone
from backend.llm.event_parts import Incomplete

Event = dict[str, Any]

REQUEST = httpx2.Request("POST", "http://localhost/v1/chat/completions")
MODEL = ChatOpenAI(api_key=SecretStr("key"))
STOP = {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


def event(text: str | None = None, **others: Any) -> Event:
    """An event of a stream of completions."""
    delta = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": None, "logprobs": None}
    return {"id": "c", "choices": [choice], "usage": None, **others}


def thought(text: str) -> Event:
    """An event with nothing but thought in it, in the form that LangChain's models give on."""
    return {"id": "c", "choices": [{"index": 0, "delta": {"reasoning_content": text}}]}


def choosing(choice: Any) -> Event:
    """An event with this choice in it."""
    return {"choices": [choice]}


def saying(**delta: Any) -> Event:
    """An event with this delta in it."""
    return choosing({"index": 0, "delta": delta, "finish_reason": None})


def take(answer: ChatEvents, *events: Any) -> list[Event]:
    """What becomes of events that come together."""
    return list(answer.take([("", json.dumps(event).encode()) for event in events]))


def answered(*events: Any) -> list[Event]:
    """What becomes of a whole answer whose events come one by one, up to [DONE]."""
    answer = ChatEvents(REQUEST)
    taken = [given for event in events for given in take(answer, event)]
    assert list(answer.take([("", b"[DONE]")])) == []
    return [*taken, *answer.end()]


def deltas(*events: Any) -> list[Event]:
    """What becomes of the deltas of these events."""
    return [choice["delta"] for event in answered(*events) for choice in event["choices"]]


def as_langchain(events: Sequence[Event]) -> list[AIMessageChunk]:
    """What LangChain makes of events; it raises where it does not take one."""
    made = [MODEL._convert_chunk_to_generation_chunk(event, AIMessageChunk, {}) for event in events]
    messages = [generation.message for generation in made if generation]
    assert len(messages) == len(events)
    return [message for message in messages if isinstance(message, AIMessageChunk)]


# One event


def test_a_plain_text_is_not_touched() -> None:
    """Nearly all events of an answer are given as they are."""
    plain = {**event("a"), "created": 7, "obfuscation": "x"}
    assert answered(plain) == [plain]


@pytest.mark.parametrize("odd", [None, [], ["a"], "a", 7, True])
def test_what_is_no_object_is_left_out(odd: Any) -> None:
    """An event of another type than an object says nothing."""
    assert answered(event("a"), odd, event("b")) == [event("a"), event("b")]


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"choices": None},
        {"choices": "a"},
        {"choices": {}},
        {"choices": []},
        {"choices": [None, "a", 7, []]},
        {"choices": [{"index": 1, "delta": {"content": "another answer"}}]},
        {"choices": [], "prompt_filter_results": [{"prompt_index": 0}]},
        {"choices": [], "chunk": "a", "service_tier": ["a"], "model": 7},
        {"type": "ping"},
    ],
    ids=json.dumps,
)
def test_an_event_without_a_choice_is_a_sign_of_life(odd: Event) -> None:
    """An event that says nothing is given as one that does."""
    assert answered(odd) == [{"choices": []}]


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"index": 0},
        {"index": None, "delta": None},
        {"index": 0, "delta": "a"},
        {"index": 0, "delta": []},
        {"index": 0, "delta": {}, "finish_reason": ""},
        {"index": 0, "delta": {"content": None}},
        {"index": 0, "delta": {"content": 7, "id": 7, "tool_calls": None}},
        {"index": 0, "delta": {"content": {"a": 1}, "function_call": "a"}},
        {"index": 0, "delta": {}, "logprobs": "a"},
        {"index": 0, "content_filter_offsets": {}, "content_filter_results": {}},
    ],
    ids=json.dumps,
)
def test_a_choice_without_anything_is_an_empty_delta(odd: Event) -> None:
    """A choice whose delta is absent, null, or of another type says nothing."""
    assert answered(choosing(odd)) == [choosing({"index": 0, "delta": {}, "finish_reason": None})]


@pytest.mark.parametrize(
    ("delta", "regular"),
    [
        ({"content": ""}, {"content": ""}),
        ({"role": "assistant", "content": ""}, {"role": "assistant", "content": ""}),
        ({"role": "model", "content": "a"}, {"role": "assistant", "content": "a"}),
        ({"role": 7, "id": 7, "content": "a"}, {"role": "assistant", "content": "a"}),
        ({"role": "tool", "content": None}, {"role": "assistant"}),
        ({"content": ["a", {"type": "text", "text": "b"}, None, {}]}, {"content": "ab"}),
        (
            {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "a"}]}]},
            {"reasoning_content": "a"},
        ),
        (
            {"content": [{"type": "reasoning", "text": "a"}, {"type": "text", "text": "b"}]},
            {"content": "b", "reasoning_content": "a"},
        ),
        ({"content": [{"type": "image_url", "image_url": {}}]}, {}),
        ({"content": None, "reasoning_content": "a"}, {"reasoning_content": "a"}),
        ({"content": "", "reasoning": "a"}, {"content": "", "reasoning_content": "a"}),
        ({"reasoning": "a", "reasoning_content": "a"}, {"reasoning_content": "a"}),
        ({"reasoning": {"a": 1}, "reasoning_content": None}, {}),
        (
            {"reasoning": "a", "reasoning_details": [{"type": "reasoning.text", "text": "a"}]},
            {"reasoning_content": "a"},
        ),
        (
            {
                "reasoning_details": [
                    {"type": "reasoning.text", "text": "a"},
                    {"type": "reasoning.summary", "summary": "b"},
                    {"type": "reasoning.encrypted", "data": "c"},
                    {"type": "reasoning.text", "text": None},
                    "d",
                ]
            },
            {"reasoning_content": "ab"},
        ),
        ({"refusal": "no"}, {"content": "no"}),
        ({"content": None, "refusal": 7}, {}),
    ],
    ids=json.dumps,
)
def test_deltas(delta: Event, regular: Event) -> None:
    """Text, thought and refusals are found wherever servers put them."""
    assert deltas(saying(**delta)) == [regular]


CALL = {"index": 1, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{"}}
CONTINUED = {"index": 0, "function": {"arguments": "}"}}


@pytest.mark.parametrize(
    ("calls", "regular"),
    [
        ([CALL, CONTINUED], [CALL, CONTINUED]),
        ([{**CALL, "function": None}, None, "a", {}, CONTINUED], [CONTINUED]),
        ([{**CALL, "index": "a"}, {**CALL, "id": 7}], []),
        ([{**CALL, "function": {"name": "f", "arguments": {}}}], []),
        (
            [{"id": "a", "function": {"name": "f"}}],
            [{"id": "a", "function": {"name": "f"}, "index": 0}],
        ),
        ({"0": CALL}, []),
    ],
    ids=json.dumps,
)
def test_tool_calls(calls: Any, regular: list[Event]) -> None:
    """Calls of tools come through if they are well-formed; a missing index is their place."""
    expected = {"content": "a", **({"tool_calls": regular} if regular else {})}
    assert deltas(saying(content="a", tool_calls=calls)) == [expected]


@pytest.mark.parametrize("call", [{"name": "f", "arguments": "{}"}, {"name": None}])
def test_calls_of_functions(call: Event) -> None:
    """The older form of a call comes through, too."""
    assert deltas(saying(function_call=call)) == [{"function_call": call}]


def test_log_probabilities_come_through() -> None:
    """What was asked for with a parameter of its own is kept."""
    choice = {"index": 0, "delta": {"content": "a"}, "logprobs": {"content": []}}
    [given] = answered(choosing(choice))
    assert given["choices"] == [{**choice, "finish_reason": None}]


# A message in place of deltas


def message(text: str, **others: Any) -> Event:
    """An event with a message in place of a delta."""
    return choosing({"index": 0, "message": {"role": "assistant", "content": text}, **others})


def test_a_message_in_place_of_a_delta_is_read() -> None:
    """A server that sends messages where deltas should be is understood."""
    events = [message("a"), message("b"), message("", finish_reason="stop")]
    assert "".join(delta["content"] for delta in deltas(*events)) == "ab"


def test_a_message_beside_a_delta_is_not_read() -> None:
    """Where there are both, the message is what has been said so far."""
    both = choosing({"delta": {"content": "b"}, "message": {"content": "ab"}, "index": 0})
    assert deltas(event("a"), both) == [{"content": "a"}, {"content": "b"}]


def test_a_message_behind_the_deltas_is_not_read() -> None:
    """A text that has come in deltas is not given once more."""
    events = [event("a"), event("b"), message("ab", finish_reason="stop", delta={})]
    assert deltas(*events) == [{"content": "a"}, {"content": "b"}, {}]


def test_a_whole_completion_is_one_event() -> None:
    """A completion that came as JSON says all that it has to say at once."""
    answer = ChatEvents(REQUEST)
    document = {
        "object": "chat.completion",
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "a", "reasoning": "b"},
                "finish_reason": "length",
            }
        ],
        "usage": {"completion_tokens": 2},
    }
    delta = {"role": "assistant", "content": "a", "reasoning_content": "b"}
    assert [*answer.take_document(json.dumps(document).encode()), *answer.end()] == [
        {"model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": "length"}]},
        {"choices": [], "usage": {"completion_tokens": 2}},
    ]
    assert answer.is_over


@pytest.mark.parametrize("document", [b"{}", b'{"detail": "no"}', b'{"choices": {}}', b"{"])
def test_json_that_is_no_completion_is_refused(document: bytes) -> None:
    """Some other JSON is no answer."""
    with pytest.raises(ValueError, match=r"no completion|Expecting"):
        list(ChatEvents(REQUEST).take_document(document))


def test_a_document_may_be_an_error() -> None:
    """An error that came as JSON with the status of a success is one all the same."""
    with pytest.raises(openai.APIError, match="no credit"):
        list(ChatEvents(REQUEST).take_document(b'{"error": {"message": "no credit"}}'))


# The end


def reasons(*events: Any) -> list[str]:
    """The reasons that are given for the end of an answer."""
    told = (choice.get("finish_reason") for e in answered(*events) for choice in e["choices"])
    return [reason for reason in told if reason]


def ending(reason: Any, **choice: Any) -> Event:
    """An event with this reason for the end."""
    return choosing({"index": 0, "delta": {}, "finish_reason": reason, **choice})


@pytest.mark.parametrize("reason", ["stop", "length", "content_filter", "tool_calls", "eos"])
def test_the_reason_for_the_end_is_given_once(reason: str) -> None:
    """A reason that is repeated, or contradicted, would be joined to itself by LangChain."""
    events = [event("a"), ending(""), ending(reason), ending(reason), ending("stop")]
    assert reasons(*events) == [reason]


@pytest.mark.parametrize("choice", [{"delta": None}, {"delta": {"content": "b"}}, {}])
def test_a_reason_may_stand_beside_anything(choice: Event) -> None:
    """Beside text, a delta that is null, or none at all."""
    finish = {"index": 0, "finish_reason": "stop", **choice}
    assert reasons(event("a"), choosing(finish)) == ["stop"]


def test_a_reason_that_is_no_text_becomes_one() -> None:
    """A reason of another type is told as a text."""
    assert reasons(ending(["a"])) == ["['a']"]


def test_a_refusal_tells_so_where_its_server_does_not() -> None:
    """A refusal whose reason is that it has come to its end says what it was."""
    assert reasons(saying(refusal="no"), ending("stop")) == ["refusal"]
    assert reasons(saying(refusal="no"), ending("content_filter")) == ["content_filter"]


@pytest.mark.parametrize(
    ("events", "is_whole"),
    [([], False), ([event("a")], False), ([ending("stop")], True), ([ending("")], False)],
)
def test_an_answer_is_whole_once_its_reason_is_told(events: list[Event], is_whole: bool) -> None:
    """A body that ends before the reason and before [DONE] has broken off."""
    answer = ChatEvents(REQUEST)
    take(answer, *events)
    assert (answer.is_whole, answer.is_over) == (is_whole, False)
    if not is_whole:
        with pytest.raises(Incomplete):
            list(answer.end())


def test_an_answer_may_end_without_a_reason() -> None:
    """[DONE] is an end, too, and what stands behind it is dropped."""
    answer = ChatEvents(REQUEST)
    events = [("", json.dumps(event("a")).encode()), ("", b"[DONE]"), ("", b"{")]
    assert list(answer.take(events)) == [event("a")]
    assert answer.is_whole
    assert answer.is_over
    assert list(answer.end()) == []


# Token counts


def usage(*events: Any) -> list[Any]:
    """The token counts that are given, and where."""
    return [(place, e["usage"]) for place, e in enumerate(answered(*events)) if e.get("usage")]


def counts(completion: Any, **others: Any) -> Event:
    """Token counts as a provider tells them."""
    return {"prompt_tokens": 5, "completion_tokens": completion, **others}


def test_token_counts_are_running_totals() -> None:
    """Counts in every event are not added up: the last ones are given, once, at the end."""
    events = [event(str(n), usage=counts(n)) for n in range(3)]
    assert usage(*events, STOP) == [(4, counts(2))]


def test_token_counts_may_come_behind_the_end() -> None:
    """An event of their own, or one of the two places where others put them."""
    tail = {"choices": [], "usage": counts(2)}
    assert usage(event("a"), STOP, tail) == [(3, counts(2))]
    assert usage({**STOP, "x_groq": {"id": "r", "usage": counts(3)}}) == [(1, counts(3))]
    assert usage(ending("stop", usage=counts(4))) == [(1, counts(4))]


@pytest.mark.parametrize("odd", [None, [], "a", 7, {}, {"a": "b"}, {"a": None, "b": [1]}])
def test_what_is_no_token_count_is_left_out(odd: Any) -> None:
    """Counts of other types would be refused, with the answer that they belong to."""
    assert usage(event("a", usage=odd), STOP) == []


def test_only_counts_are_kept() -> None:
    """In what a provider tells of its work, the counts and their details are taken."""
    told = counts(
        2,
        cost=0.1,
        total_tokens="7",
        cached=True,
        queue_tokens=-1,
        prompt_tokens_details=None,
        completion_tokens_details={"reasoning_tokens": 1, "audio_tokens": None},
    )
    kept = counts(2, completion_tokens_details={"reasoning_tokens": 1})
    assert usage({**STOP, "usage": told}) == [(1, kept)]


def test_the_service_tier_goes_with_the_counts() -> None:
    """LangChain files the counts of some tiers under a name of their own."""
    *_, last = answered({**STOP, "usage": counts(2), "service_tier": "flex"})
    assert last == {"choices": [], "usage": counts(2), "service_tier": "flex"}


# Errors

ERROR = {"message": "the upstream is gone", "code": 502, "type": "server_error", "param": "model"}


@pytest.mark.parametrize(
    "failing",
    [
        {"error": ERROR},
        {"error": ERROR, "choices": [{"delta": {"content": ""}, "finish_reason": "error"}]},
        choosing({"error": ERROR, "delta": {}, "finish_reason": "error"}),
        choosing({"error": ERROR, "delta": {"content": "b"}}),
    ],
    ids=json.dumps,
)
def test_an_error_within_a_stream_is_raised(failing: Event) -> None:
    """An error is one wherever it stands, with the provider's own code, type and parameter."""
    with pytest.raises(openai.APIError, match="the upstream is gone") as raised:
        answered(event("a"), failing)
    assert raised.value.body == ERROR
    assert (raised.value.code, raised.value.type, raised.value.param) == (
        "502",
        "server_error",
        "model",
    )


def test_an_error_may_be_a_text() -> None:
    """An error that is a text is its own message."""
    with pytest.raises(openai.APIError, match="out of memory"):
        answered({"error": "out of memory"})


def test_an_error_may_be_nothing_but_a_reason() -> None:
    """A reason that says `error` is no end, though nothing else is told."""
    with pytest.raises(openai.APIError):
        answered(event("a"), ending("error"))


def test_an_error_may_be_the_event() -> None:
    """Older versions of vLLM send an error without a name."""
    error = {"object": "error", "message": "too long", "code": 400}
    with pytest.raises(openai.APIError, match="too long") as raised:
        answered(error)
    assert raised.value.code == "400"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b'{"error": {"message": "a"}}', "a"),
        (b'{"message": "a", "code": 1}', "a"),
        (b'"a"', "a"),
        (b"a bad gateway", "a bad gateway"),
        (b"", "An error occurred during streaming"),
        (b"null", "An error occurred during streaming"),
    ],
)
def test_an_event_of_the_type_error_is_one(data: bytes, text: str) -> None:
    """What is announced as an error is one, whatever form it has."""
    with pytest.raises(openai.APIError, match=text):
        list(ChatEvents(REQUEST).take([("error", data)]))


@pytest.mark.parametrize("kind", ["ping", "keep-alive", "heartbeat"])
def test_keep_alive_events_are_left_out(kind: str) -> None:
    """What only keeps a connection open says nothing, whatever form it has."""
    assert list(ChatEvents(REQUEST).take([(kind, b"12:00"), ("", b""), ("", b" ")])) == []


@pytest.mark.parametrize("failing", [b'{"error": {"message": "a"}}', b"{"])
def test_what_comes_before_a_failure_counts(failing: bytes) -> None:
    """The text before a failure is given, though they come together."""
    told = [("", json.dumps(event(text)).encode()) for text in "abc"]
    events = ChatEvents(REQUEST).take([*told, ("", failing)])
    assert next(events) == event("abc")
    with pytest.raises((openai.APIError, ValueError)):
        next(events)


def test_broken_utf8_destroys_no_answer() -> None:
    """Bytes that are no text are replaced, as the specification of event streams has it."""
    data = json.dumps(event("a-b")).encode().replace(b"-", b"\xff")
    [given] = ChatEvents(REQUEST).take([("", data)])
    assert text_alone(given) == "a\N{REPLACEMENT CHARACTER}b"


# Anything at all

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)
PART = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["text", "thinking", "reasoning"]) | JSON,
        "text": JSON,
        "thinking": JSON,
    },
)
CALLS = st.fixed_dictionaries(
    {},
    optional={
        "index": JSON,
        "id": JSON,
        "function": st.fixed_dictionaries({}, optional={"name": JSON, "arguments": JSON}) | JSON,
    },
)
DELTA = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["assistant", "user", "tool"]) | JSON,
        "content": JSON | st.lists(PART, max_size=2),
        "reasoning": JSON,
        "reasoning_content": JSON,
        "reasoning_details": JSON | st.lists(PART, max_size=2),
        "refusal": JSON,
        "tool_calls": JSON | st.lists(CALLS, max_size=2),
        "function_call": JSON,
        "id": JSON,
    },
)
CHOICE = st.fixed_dictionaries(
    {},
    optional={
        "index": st.just(0) | JSON,
        "delta": DELTA | JSON,
        "message": DELTA | JSON,
        "finish_reason": st.just("stop") | JSON,
        "usage": JSON,
    },
)
COUNTS = st.dictionaries(
    st.sampled_from(
        ["prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details"]
    ),
    JSON,
)
ANYTHING = JSON | st.fixed_dictionaries(
    {},
    optional={
        "id": JSON,
        "model": JSON,
        "service_tier": JSON,
        "system_fingerprint": JSON,
        "usage": COUNTS | JSON,
        "x_groq": JSON,
        "choices": st.lists(CHOICE | JSON, max_size=2) | JSON,
    },
)


@given(st.lists(ANYTHING, max_size=4))
def test_langchain_takes_whatever_comes_out(events: list[Any]) -> None:
    """No event whatever makes LangChain fail: there is nothing that it could not take."""
    answer = ChatEvents(REQUEST)
    messages = as_langchain(take(answer, event("a"), *events, event("b"), ending("stop")))
    messages += as_langchain(list(answer.end()))
    texts = [message.content for message in messages if message.content]
    joined = "".join(text for text in texts if isinstance(text, str))
    assert joined.startswith("a")
    assert joined.endswith("b")
    assert len(texts) <= len(events) + 2


# Joining

OTHERS: list[Any] = [
    event(),
    event(choices=[{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]),
    event(choices=[{"index": 0, "delta": {"content": "x"}, "logprobs": {"content": []}}]),
    event(choices=[{"index": 0, "delta": {"content": "x"}, "error": {"message": "no"}}]),
    event(choices=[{"index": 1, "delta": {"content": "x"}}]),
    event(choices=[{"index": 0, "delta": {"content": "x", "role": "user"}}]),
    event(choices=[{"index": 0, "delta": {"content": "x", "tool_calls": [{"index": 0}]}}]),
    event(choices=[{"index": 0, "delta": {"content": "x", "reasoning_content": "y"}}]),
    event(choices=[{"index": 0, "delta": {"refusal": "no"}}]),
    event(choices=[{"index": 0, "delta": {"content": ["x"]}}]),
    event(choices=[{"index": 0, "delta": None}]),
    event(choices=[{"index": 0}]),
    event(choices=["x"]),
    event(choices=[]),
    event(choices=None),
    event("x", usage={"total_tokens": 3}),
    event("x", x_groq={"id": "r"}),
    {"error": {"message": "no"}},
    thought("x"),
]


@pytest.mark.parametrize("other", OTHERS, ids=str)
def test_only_text_is_joined(other: Any) -> None:
    """What carries anything but text stays as it is, and where it is."""
    events = [event("a"), event("b"), other, event("c"), event("d")]
    assert list(join_texts(events)) == [event("ab"), other, event("cd")]


def test_a_text_by_itself_stays_by_itself() -> None:
    """Nothing is held back until more comes."""
    assert list(join_texts([event("a")])) == [event("a")]


def test_thought_is_joined_too() -> None:
    """Neighbours that carry nothing but thought are joined to one."""
    events = [thought("a"), thought("b"), event("c"), event("d"), thought("e")]
    assert list(join_texts(events)) == [thought("ab"), event("cd"), thought("e")]


def test_the_spelling_of_thought_does_not_matter() -> None:
    """Thoughts that come together are one event, whatever their server calls them."""
    answer = ChatEvents(REQUEST)
    told = [saying(reasoning="a", role="assistant"), saying(content=None, reasoning_content="b")]
    [given] = take(answer, *told)
    assert given["choices"][0]["delta"]["reasoning_content"] == "ab"
    assert answer.has_begun


def texts(events: Sequence[Event]) -> str:
    """All text of these events."""
    return "".join(event["choices"][0]["delta"].get("content", "") for event in events)


@given(st.lists(st.one_of(st.text(max_size=3).map(event), st.just(STOP))))
def test_joining_loses_nothing(events: list[Event]) -> None:
    """Text and reasons are all there, in their order."""
    before, stops = texts(events), events.count(STOP)
    joined = list(join_texts(events))
    assert (texts(joined), joined.count(STOP)) == (before, stops)
