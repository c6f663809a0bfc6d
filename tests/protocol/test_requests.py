"""What clients send: well-formed values go on, everything else is refused in our own words."""

import contextlib
import json
import uuid
from functools import partial
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backend.protocol.errors import InvalidRequest
from backend.protocol.requests import (
    EVERYBODY,
    GROUP_ID_PREFIX,
    Ask,
    Resume,
    is_question_id,
    parse_ask,
    parse_resume,
    parse_stop,
    parse_user,
    refused_id,
)

QUESTION_ID = "6f1c9f5e-3c0b-4a57-9d3e-6a2f0c6b1d11"
MAX_TOPIC = 20
MAX_QUESTION = 60

# Stands in what is sent, and never in what is answered.
WORDS = "xyzzy"


def ask(payload: Any) -> Ask:
    """Read an askQuestion, with small limits."""
    return parse_ask(payload, max_topic_chars=MAX_TOPIC, max_question_chars=MAX_QUESTION)


def asking(**changes: Any) -> dict[str, Any]:
    """A valid payload with these changes."""
    return {"topic": "the sea", "topicQuestion": "why is it salty?", **changes}


def message_of(refused: pytest.ExceptionInfo[InvalidRequest]) -> str:
    """What the client is told."""
    assert refused.value.code == "invalid_request"
    assert not refused.value.retryable
    return refused.value.payload["message"]


# Questions


def test_a_question_is_read_as_it_was_asked() -> None:
    """Topic and question go on as they are, under the id that the client chose."""
    assert ask(asking(questionId=QUESTION_ID)) == Ask(QUESTION_ID, "the sea", "why is it salty?")


@pytest.mark.parametrize("payload", [asking(), asking(questionId=None)])
def test_a_question_without_an_id_gets_one(payload: dict[str, Any]) -> None:
    """Where the client chose no id, it is a random UUID, another one each time."""
    first, second = ask(payload).question_id, ask(payload).question_id
    assert uuid.UUID(first).version == 4
    assert first != second


def test_a_new_id_may_have_a_prefix() -> None:
    """The consumer-group mode's begins every id that we make; one that the client chose stays."""
    parse = partial(
        parse_ask,
        max_topic_chars=MAX_TOPIC,
        max_question_chars=MAX_QUESTION,
        id_prefix=GROUP_ID_PREFIX,
    )
    made = parse(asking()).question_id
    assert made.startswith("Q-")
    assert is_question_id(made)
    assert parse(asking(questionId=QUESTION_ID)).question_id == QUESTION_ID


@pytest.mark.parametrize(
    "text",
    [
        "{topic} {{}} {0} %s ${x}",
        "\N{WAVING HAND SIGN}\N{EMOJI MODIFIER FITZPATRICK TYPE-4} \U0001f469\u200d\U0001f467",
        "one\ntwo\r\n\tthree",
        "  blanks around  ",
        "<script>alert('x')</script>",
        "quotes \" ' ` \\",
        "漢字 العربية café",
        "START:1;<br/> <br/>;END:1",
        "x",
    ],
)
def test_text_goes_on_unchanged(text: str) -> None:
    """Braces, emoji, line breaks, markup: all of it is text."""
    assert ask(asking(topicQuestion=text)).question == text


def test_the_longest_texts_are_taken() -> None:
    """The limits are in characters, and the longest that is allowed is allowed."""
    longest = asking(topic="é" * MAX_TOPIC, topicQuestion="\U0001f98a" * MAX_QUESTION)
    assert ask(longest).topic == "é" * MAX_TOPIC
    assert ask(longest).question == "\U0001f98a" * MAX_QUESTION


def test_more_than_is_asked_for_is_passed_over() -> None:
    """Keys that we do not know do no harm."""
    assert ask(asking(topics=["x"], model=None)).topic == "the sea"


@pytest.mark.parametrize(
    "question_id",
    [
        QUESTION_ID,
        QUESTION_ID.upper(),
        f"Q-{QUESTION_ID}",
        "f47ac10b-58cc-11f0-9c5a-0242ac120002",
        str(uuid.UUID(int=0)),
    ],
)
def test_valid_question_ids(question_id: str) -> None:
    """Any UUID in its usual spelling is an id, with the original's prefix as well."""
    assert ask(asking(questionId=question_id)).question_id == question_id


NO_OBJECTS = [
    None,
    0,
    7,
    1.5,
    True,
    False,
    "",
    WORDS,
    json.dumps(asking()),
    b"",
    WORDS.encode(),
    bytearray(b"x"),
    [],
    [asking()],
    [["topic", "x"]],
    (),
    {"topic"},
    ...,
]


@pytest.mark.parametrize("payload", NO_OBJECTS, ids=repr)
@pytest.mark.parametrize("parse", [ask, parse_resume, parse_stop])
def test_what_is_no_object_is_refused(parse: Any, payload: Any) -> None:
    """Anything but an object is refused, in the same words whatever it is."""
    with pytest.raises(InvalidRequest) as refused:
        parse(payload)
    assert message_of(refused) == "An object with topic and topicQuestion is expected."


NO_TEXTS = [
    pytest.param(None, id="null"),
    pytest.param(0, id="zero"),
    pytest.param(7, id="number"),
    pytest.param(True, id="true"),
    pytest.param(False, id="false"),
    pytest.param(WORDS.encode(), id="bytes"),
    pytest.param([WORDS], id="list"),
    pytest.param({"text": WORDS}, id="object"),
    pytest.param("", id="empty"),
    pytest.param(" \t\r\n\N{NO-BREAK SPACE}\N{IDEOGRAPHIC SPACE}", id="blank"),
    pytest.param(WORDS * 20, id="too long"),
    pytest.param(f"{WORDS}\0", id="NUL"),
    pytest.param(f"{WORDS}\x08", id="backspace"),
    pytest.param(f"{WORDS}\x0b", id="vertical tab"),
    pytest.param(f"{WORDS}\x1b[31m", id="escape"),
    pytest.param(f"{WORDS}\x7f", id="DEL"),
    pytest.param(f"\ud83d{WORDS}", id="first half of an emoji"),
    pytest.param(f"{WORDS}\udc4b", id="second half of an emoji"),
]


@pytest.mark.parametrize("value", NO_TEXTS)
@pytest.mark.parametrize("name", ["topic", "topicQuestion"])
def test_what_is_no_text_is_refused(name: str, value: Any) -> None:
    """A topic or a question that is not a text of reasonable length is refused by its name."""
    with pytest.raises(InvalidRequest) as refused:
        ask(asking(**{name: value}))
    assert message_of(refused).startswith(f"{name} ")
    assert WORDS not in message_of(refused)


@pytest.mark.parametrize("name", ["topic", "topicQuestion"])
def test_a_missing_text_is_refused(name: str) -> None:
    """A question without its topic, and a topic without its question, are refused."""
    payload = asking()
    del payload[name]
    with pytest.raises(InvalidRequest) as refused:
        ask(payload)
    assert message_of(refused) == f"{name} has to be a text."


@pytest.mark.parametrize(("name", "limit"), [("topic", MAX_TOPIC), ("topicQuestion", MAX_QUESTION)])
def test_a_text_that_is_too_long_is_told_the_limit(name: str, limit: int) -> None:
    """One character too many is refused, with how many there may be."""
    with pytest.raises(InvalidRequest) as refused:
        ask(asking(**{name: "x" * (limit + 1)}))
    assert message_of(refused) == f"{name} is too long: at most {limit} characters."


# Ids

NO_IDS = [
    pytest.param("", id="empty"),
    pytest.param("*", id="star"),
    pytest.param("1", id="short"),
    pytest.param(f"{QUESTION_ID}\n", id="newline at its end"),
    pytest.param(f"\n{QUESTION_ID}", id="newline at its start"),
    pytest.param(f" {QUESTION_ID} ", id="blanks around"),
    pytest.param(f"{QUESTION_ID}\0", id="NUL at its end"),
    pytest.param(f"{QUESTION_ID}{QUESTION_ID}", id="two"),
    pytest.param(f"Q-Q-{QUESTION_ID}", id="prefix twice"),
    pytest.param(f"q-{QUESTION_ID}", id="small prefix"),
    pytest.param(f"{{{QUESTION_ID}}}", id="in braces"),
    pytest.param(f"urn:uuid:{QUESTION_ID}", id="URN"),
    pytest.param(QUESTION_ID.replace("-", ""), id="without dashes"),
    pytest.param(QUESTION_ID.replace("6", "٦"), id="Arabic digits"),
    pytest.param(QUESTION_ID.replace("6", "\N{FULLWIDTH DIGIT SIX}"), id="full-width digits"),
    pytest.param(QUESTION_ID.replace("f", "g"), id="not hexadecimal"),
    pytest.param("a" * 10_000, id="10,000 characters"),
    pytest.param(f"{WORDS}:{QUESTION_ID}", id="a key"),
    pytest.param("\ud800", id="lone surrogate"),
    pytest.param(7, id="number"),
    pytest.param(0, id="zero"),
    pytest.param(True, id="true"),
    pytest.param(False, id="false"),
    pytest.param(QUESTION_ID.encode(), id="bytes"),
    pytest.param([QUESTION_ID], id="list"),
    pytest.param({"id": QUESTION_ID}, id="object"),
]


@pytest.mark.parametrize("value", NO_IDS)
@pytest.mark.parametrize("parse", [ask, parse_resume, parse_stop])
def test_bad_question_ids_are_refused(parse: Any, value: Any) -> None:
    """An id that is not a UUID to the letter is refused, without being repeated."""
    with pytest.raises(InvalidRequest) as refused:
        parse(asking(questionId=value))
    assert message_of(refused) == "questionId has to be a UUID."


@pytest.mark.parametrize("payload", [{}, {"questionId": None}, asking()])
@pytest.mark.parametrize("parse", [parse_resume, parse_stop])
def test_resuming_and_stopping_take_an_id(parse: Any, payload: dict[str, Any]) -> None:
    """A question that is to be resumed or stopped has to be named."""
    with pytest.raises(InvalidRequest) as refused:
        parse(payload)
    assert message_of(refused) == "questionId has to be a UUID."


def test_stopping() -> None:
    """A stop is the id of the question."""
    assert parse_stop({"questionId": QUESTION_ID}) == QUESTION_ID


@pytest.mark.parametrize("payload", [{}, {"after": None}])
def test_resuming_from_the_start(payload: dict[str, Any]) -> None:
    """Without an entry to resume behind, the whole answer is meant."""
    assert parse_resume({"questionId": QUESTION_ID, **payload}) == Resume(QUESTION_ID, None)


@pytest.mark.parametrize("after", ["0-0", "1700000000000-0", "999999999999999-999999999999999"])
def test_resuming_behind_an_entry(after: str) -> None:
    """The id of an entry, in Redis's own spelling, is what a reader resumes behind."""
    assert parse_resume({"questionId": QUESTION_ID, "after": after}).after == after


@pytest.mark.parametrize(
    "after",
    [
        pytest.param("", id="empty"),
        pytest.param("0", id="no sequence"),
        pytest.param("-", id="Redis's smallest"),
        pytest.param("+", id="Redis's largest"),
        pytest.param("$", id="Redis's newest"),
        pytest.param("*", id="Redis's next"),
        pytest.param("1-*", id="next in a millisecond"),
        pytest.param("(1-1", id="exclusive"),
        pytest.param("1-1\n", id="newline at its end"),
        pytest.param(" 1-1", id="blank before it"),
        pytest.param("1-1-1", id="two dashes"),
        pytest.param("-1-1", id="negative"),
        pytest.param("1e3-0", id="exponent"),
        pytest.param("1_000-0", id="underscore"),
        pytest.param("\N{ARABIC-INDIC DIGIT ONE}-\N{ARABIC-INDIC DIGIT ZERO}", id="Arabic digits"),
        pytest.param("1-²", id="superscript"),
        pytest.param(f"{2**64}-0", id="above 64 bits"),
        pytest.param("9" * 10_000 + "-0", id="10,000 digits"),
        pytest.param(WORDS, id="words"),
        pytest.param(0, id="zero"),
        pytest.param(1700000000000, id="number"),
        pytest.param(False, id="false"),
        pytest.param(b"1-1", id="bytes"),
        pytest.param(["1-1"], id="list"),
        pytest.param({}, id="object"),
    ],
)
def test_what_is_no_entry_id_is_refused(after: Any) -> None:
    """What would mean something else to Redis, or nothing, is no id of an entry."""
    with pytest.raises(InvalidRequest) as refused:
        parse_resume({"questionId": QUESTION_ID, "after": after})
    assert message_of(refused) == "after has to be the id of an entry."


# Refusals


def test_a_refused_question_keeps_its_id() -> None:
    """A refusal is labelled with the id that the client chose, so that it finds it."""
    assert refused_id({"questionId": QUESTION_ID, "topic": 7}) == QUESTION_ID


@pytest.mark.parametrize("payload", [*NO_OBJECTS, {}, {"questionId": "*"}], ids=repr)
def test_a_refused_question_without_an_id_gets_one(payload: Any) -> None:
    """A refusal needs an id for its labels, and never repeats what is none."""
    assert uuid.UUID(refused_id(payload)).version == 4


# Anything

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
names = st.sampled_from(["topic", "topicQuestion", "questionId", "after"])
surrogates = st.text(st.characters(categories=["Cs", "Cc", "L"]))


@given(json_values | st.dictionaries(names, json_values | surrogates | st.binary()))
@example({"questionId": QUESTION_ID, "topic": "x", "topicQuestion": "y"})
def test_anything_is_read_or_refused(payload: Any) -> None:
    """Whatever comes in, reading it raises nothing but InvalidRequest."""
    for parse in (ask, parse_resume, parse_stop):
        with contextlib.suppress(InvalidRequest):
            parse(payload)


@given(st.text(), st.text() | surrogates)
def test_what_goes_on_can_be_stored(topic: str, question: str) -> None:
    """Text that was accepted can be written as UTF-8, which is what Redis and models take."""
    try:
        accepted = ask({"topic": topic, "topicQuestion": question})
    except InvalidRequest:
        return
    assert accepted.topic.encode().decode() == topic
    assert accepted.question.encode().decode() == question


@pytest.mark.parametrize("user_id", ["ann", "USER1", "a.b-c_9", "x" * 64])
def test_a_handshake_may_name_its_user(user_id: str) -> None:
    """Letters, digits, dots, dashes and underscores make a user."""
    assert parse_user({"userId": user_id}) == user_id


@pytest.mark.parametrize(
    "auth",
    [
        None,
        {},
        "ann",
        ["ann"],
        {"userId": None},
        {"userId": 7},
        {"userId": ""},
        {"userId": "x" * 65},
        {"userId": "a b"},
        {"userId": "a:b"},
        {"userId": "ann\n"},
        {"userId": "{ann}"},
        {"userId": ["ann"]},
    ],
)
def test_whoever_names_none_is_everybody(auth: object) -> None:
    """What cannot be a part of names in Redis is no user: such people share the original's."""
    assert parse_user(auth) == EVERYBODY
