"""The client that gives events as dicts: as the SDK's own, but for texts that it joins."""

import asyncio
import functools
import json
import operator
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import openai
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessageChunk
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from backend.llm import openai_client
from backend.llm.openai_client import EventClient, join_texts
from backend.pace import Pace
from tests.fakes.openai_endpoint import OpenAIEndpoint, answer_pieces

Sdk = type[openai.AsyncOpenAI]
Event = dict[str, Any]


@asynccontextmanager
async def connected(sdk: Sdk, url: str, **options: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    """A client of this kind; its connections end with it."""
    async with openai.DefaultAioHttpClient() as http:
        yield sdk(base_url=url, api_key="key", http_client=http, **options)


# What LangChain makes of it


async def outcome(sdk: Sdk, question: str, **options: Any) -> tuple[Any, ...]:
    """What LangChain's model says with this client, how it fails, and how often it asks."""
    said: list[AIMessageChunk] = []
    failed: Any = None
    async with OpenAIEndpoint() as endpoint, connected(sdk, endpoint.url, **options) as client:
        model = ChatOpenAI(
            api_key=SecretStr("key"),
            async_client=client.chat.completions,
            root_async_client=client,
            stream_usage=True,
            stream_chunk_timeout=None,
        )
        try:
            async for message in model.astream(question):
                said.append(message)  # noqa: PERF401  # what came before a failure counts
        except Exception as exc:
            failed = type(exc), str(exc), getattr(exc, "body", None), type(exc.__cause__)
        tries = len(endpoint.requests)
    whole = functools.reduce(operator.add, said).model_dump(exclude={"id"}) if said else None
    return whole, failed, tries


@pytest.mark.parametrize(
    "fault",
    [
        "empty_deltas", "finish:stop", "finish:length", "finish:content_filter", "refusal",
        "tool_call", "401", "429", "429:insufficient_quota", "500", "html", "fail_times:1",
        "fail_times:3", "cut_after:0", "cut_after:5", "clean_eof_after:0", "clean_eof_after:5",
        "error_event_after:0", "error_event_after:5", "garbage_json_after:0",
        "garbage_json_after:5",
    ],
)  # fmt: skip
async def test_a_model_behaves_as_with_the_sdks_client(fault: str) -> None:
    """Text, tool calls, usage, reasons, failures and retries are the same with both clients."""
    question = f"[[tokens=9 fault={fault}]]"
    assert await outcome(EventClient, question) == await outcome(openai.AsyncOpenAI, question)


async def test_tool_calls_usage_and_reasons_come_through() -> None:
    """What is not text is there, so that the comparison above compares something."""
    whole, failed, tries = await outcome(EventClient, "[[tokens=9 fault=tool_call]]")
    assert (failed, tries) == (None, 1)
    assert whole["tool_calls"][0]["args"] == {"word": "sea"}
    assert whole["usage_metadata"]["output_tokens"] == 9
    assert whole["response_metadata"]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("fault", ["stall_before_first", "stall_after:0", "stall_after:5"])
async def test_a_timeout_is_the_sdks(fault: str) -> None:
    """A provider that falls silent is reported as by the SDK's own client."""
    question = f"[[tokens=9 fault={fault}]]"
    options = {"timeout": 2.0, "max_retries": 0}
    clients = (EventClient, openai.AsyncOpenAI)
    ours, theirs = await asyncio.gather(
        *(outcome(client, question, **options) for client in clients)
    )
    assert ours == theirs
    _, failed, _ = ours
    assert issubclass(failed[0], openai.APITimeoutError)


async def test_what_is_not_streamed_is_left_alone(endpoint: OpenAIEndpoint) -> None:
    """A whole completion is the SDK's own object."""
    async with connected(EventClient, endpoint.url) as client:
        completion = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "why?"}]
        )
    assert completion.choices[0].message.content == endpoint.answer_to("why?")


async def test_connections_are_used_again(endpoint: OpenAIEndpoint) -> None:
    """An answer that was read to its end leaves its connection to the next question."""
    async with connected(EventClient, endpoint.url) as client:
        for number in range(5):
            stream = await client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": str(number)}], stream=True
            )
            assert [event async for event in stream]
    assert len({request.peer for request in endpoint.requests}) == 1


# At which moments it is read


class Moments(Pace):
    """A pace whose next moment comes when the test says so."""

    def __init__(self) -> None:
        super().__init__(1)
        self.waits = 0
        self.come = asyncio.Event()

    async def next(self) -> None:
        """Wait for the test."""
        self.waits += 1
        await self.come.wait()


async def asked(client: EventClient, question: str) -> AsyncIterator[Any]:
    """The events of an answer."""
    stream = await client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": question}], stream=True
    )
    async for event in stream:
        yield event


async def test_the_first_words_wait_for_no_moment(endpoint: OpenAIEndpoint) -> None:
    """What the provider says first is given at once, though no moment ever comes."""
    async with connected(EventClient, endpoint.url) as client:
        assert isinstance(client, EventClient)
        client.pace = Moments()
        question = "[[fault=stall_after:1]]"
        async with aclosing(asked(client, question)) as given:  # type: ignore[type-var]
            _role, first = await anext(given), await anext(given)
    assert texts([first]) == answer_pieces(question, 1)[0]


async def test_later_words_are_read_at_the_moments(endpoint: OpenAIEndpoint) -> None:
    """What comes between two moments is one piece."""
    question = "[[tokens=30 interval_ms=1]]"
    async with connected(EventClient, endpoint.url) as client:
        assert isinstance(client, EventClient)
        client.pace = moments = Moments()
        async with aclosing(asked(client, question)) as given:  # type: ignore[type-var]
            said = [await anext(given), await anext(given)]
            await endpoint.wait_sent(question, 30)
            moments.come.set()
            said += [event async for event in given]
    assert "".join(map(words, said)) == "".join(answer_pieces(question, 30))
    assert sum(map(bool, map(words, said))) <= 3
    assert moments.waits


# What is on the wire


async def read(*blocks: bytes) -> list[Any]:
    """The events of an answer that is sent in these blocks."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for block in blocks:
            await response.write(block)
        return response

    app = web.Application()
    app.router.add_post("/chat/completions", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with connected(EventClient, url) as client:
            stream = await client.chat.completions.create(model="m", messages=[], stream=True)
            return [event async for event in stream]
    finally:
        await runner.cleanup()


def event(text: str | None = None, **others: Any) -> Event:
    """An event of a stream of completions."""
    delta = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": None, "logprobs": None}
    return {"id": "c", "choices": [choice], "usage": None, **others}


def sent(*events: Event, line_end: str = "\n") -> bytes:
    """Events as a provider sends them."""
    return "".join(f"data: {json.dumps(event)}{line_end * 2}" for event in events).encode()


DONE = b"data: [DONE]\n\n"
STOP = {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


async def test_every_spelling_of_an_event_is_understood() -> None:
    """Comments, other fields, no space, several lines of data, CRLF: as the standard has it."""
    body = (
        b": keep-alive\n\n"
        + b"event: message\nid: 7\n" + sent(event("one"))
        + sent(event("two"), line_end="\r\n")
        + b'data:{"choices":\ndata: []}\n\n'
        + sent(STOP) + DONE
    )  # fmt: skip
    assert await read(body) == [event("onetwo"), {"choices": []}, STOP]


async def test_what_came_before_garbage_counts() -> None:
    """What came together with something that cannot be read is given first."""

    async def blocks() -> AsyncIterator[bytes]:
        yield sent(event("said")) + b"data: {\n\n"

    reads = openai_client.read_events(blocks(), Pace(0))
    assert await anext(reads) == [event("said")]
    with pytest.raises(ValueError, match="Expecting"):
        await anext(reads)


async def test_what_stands_behind_done_is_dropped() -> None:
    """[DONE] is the end, whatever follows."""
    assert await read(sent(STOP) + DONE + sent(event("late"))) == [STOP]


async def test_an_unfinished_event_is_dropped() -> None:
    """An event counts once the empty line behind it has come."""
    assert await read(sent(event("whole")), sent(event("half"))[:-1]) == [event("whole")]


async def test_an_event_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is gathered of one event is bounded."""
    monkeypatch.setattr(openai_client, "MAX_EVENT_BYTES", 1_000)
    with pytest.raises(ValueError, match="too long"):
        await read(b"data: " + b"x" * 2_000)


@given(st.data())
async def test_it_does_not_matter_where_the_network_cuts(data: st.DataObject) -> None:
    """However the bytes are cut into blocks, the text is the same, and so is all the rest."""
    line_end = data.draw(st.sampled_from(["\n", "\r\n"]))
    body = sent(event("a\u0301 漢"), event("\U0001f98a"), STOP, line_end=line_end) + DONE
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=6)))

    async def blocks() -> AsyncIterator[bytes]:
        for begin, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
            yield body[begin:end]

    events = [
        event async for read in openai_client.read_events(blocks(), Pace(0)) for event in read
    ]
    assert events == [event("a\u0301 漢"), event("\U0001f98a"), STOP]


# Joining

OTHERS: list[Any] = [
    event(),
    event("role", choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}}]),
    event(choices=[{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]),
    event(choices=[{"index": 0, "delta": {"content": "x"}, "logprobs": {"content": []}}]),
    event(choices=[{"index": 1, "delta": {"content": "x"}}]),
    event(choices=[{"index": 0, "delta": {"content": "x", "tool_calls": [{"index": 0}]}}]),
    event(choices=[{"index": 0, "delta": {"refusal": "no"}}]),
    event(choices=[{"index": 0, "delta": {"content": ["x"]}}]),
    event(choices=[{"index": 0, "delta": None}]),
    event(choices=[{"index": 0}]),
    event(choices=["x"]),
    event(choices=[]),
    event(choices=None),
    event("x", usage={"total_tokens": 3}),
    {"error": {"message": "no"}},
    ["no", "dict"],
    "text",
    None,
]


@pytest.mark.parametrize("other", OTHERS, ids=str)
def test_only_text_is_joined(other: Any) -> None:
    """What carries anything but text stays as it is, and where it is."""
    events = [event("a"), event("b"), other, event("c"), event("d")]
    assert list(join_texts(events)) == [event("ab"), other, event("cd")]


def test_a_text_by_itself_stays_by_itself() -> None:
    """Nothing is held back until more comes."""
    assert list(join_texts([event("a")])) == [event("a")]


def words(event: Event) -> str:
    """The text of an event."""
    return str(event["choices"][0]["delta"].get("content", ""))


def texts(events: Sequence[Event]) -> str:
    """All text of these events."""
    return "".join(map(words, events))


@given(st.lists(st.one_of(st.text(max_size=3).map(event), st.just(STOP))))
def test_joining_loses_nothing(events: list[Event]) -> None:
    """Text and reasons are all there, in their order."""
    before, stops = texts(events), events.count(STOP)
    joined = list(join_texts(events))
    assert (texts(joined), joined.count(STOP)) == (before, stops)


async def test_an_answer_in_one_block_comes_as_one_text(endpoint: OpenAIEndpoint) -> None:
    """Tokens that the network brings together go on together."""
    pieces = answer_pieces("why?", 500)
    assert texts(await read(sent(*map(event, pieces)) + DONE)) == "".join(pieces)
