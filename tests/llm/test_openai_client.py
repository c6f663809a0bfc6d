"""The client that gives events as dicts: as the SDK's own, where that one does well."""

import asyncio
import functools
import json
import operator
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import httpx2
import openai
import pytest
from aiohttp import web
from langchain_core.messages import AIMessageChunk
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from backend.llm import event_stream, openai_client
from backend.llm.event_parts import Incomplete
from backend.llm.openai_client import EventClient
from backend.runtime.ticker import Ticker
from tests.fakes.openai_endpoint import OpenAIEndpoint, answer_pieces

Sdk = Callable[..., openai.AsyncOpenAI]


@asynccontextmanager
async def connected(sdk: Sdk, url: str, **options: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    """A client of this kind; its connections end with it."""
    async with openai.DefaultAioHttpClient() as http:
        yield sdk(**{"base_url": url, "api_key": "key", "http_client": http} | options)


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
        "empty_deltas", "finish:stop", "finish:length", "finish:content_filter", "tool_call",
        "401", "429", "429:insufficient_quota", "500", "fail_times:1", "fail_times:3",
        "cut_after:0", "cut_after:5", "error_event_after:0", "error_event_after:5",
        "garbage_json_after:0", "garbage_json_after:5",
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


@pytest.mark.parametrize("pieces", [0, 5])
async def test_a_body_that_just_ends_is_a_broken_connection(pieces: int) -> None:
    """Without a reason or [DONE] an answer has broken off, which the SDK's client hides."""
    question = f"[[tokens=9 fault=clean_eof_after:{pieces}]]"
    whole, failed, _ = await outcome(EventClient, question)
    assert whole["content"] == "".join(answer_pieces(question, pieces))
    kind, _, _, cause = failed
    assert issubclass(kind, openai.APIConnectionError)
    assert cause is Incomplete


async def test_a_refusal_is_text() -> None:
    """A model that refuses says so, while the SDK's client leaves its answer empty."""
    question = "[[tokens=9 fault=refusal]]"
    whole, _, _ = await outcome(EventClient, question)
    assert whole["content"] == "".join(answer_pieces(question, 9))
    assert whole["response_metadata"]["finish_reason"] == "refusal"


async def test_a_page_is_no_answer() -> None:
    """What a captive portal says is not read; nor is it a connection that broke."""
    whole, failed, _ = await outcome(EventClient, "[[fault=html]]")
    assert whole is None
    assert failed[0] is ValueError


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
            assert [event async for event in asked(client, str(number))]
    assert len({request.peer for request in endpoint.requests}) == 1


async def test_a_raw_response_is_read_in_the_same_way(endpoint: OpenAIEndpoint) -> None:
    """Whoever asks the SDK for the headers, too, gets the same events."""
    async with connected(EventClient, endpoint.url) as client:
        raw = await client.chat.completions.with_raw_response.create(
            model="m", messages=[{"role": "user", "content": "why?"}], stream=True
        )
        events: list[Any] = [event async for event in raw.parse()]
    assert "".join(map(words, events)) == endpoint.answer_to("why?")


# At which moments it is read


class Moments(Ticker):
    """A pace whose next moment comes when the test says so."""

    def __init__(self) -> None:
        super().__init__(1)
        self.waits = 0
        self.come = asyncio.Event()

    async def next(self) -> None:
        """Wait for the test."""
        self.waits += 1
        await self.come.wait()


async def asked(client: openai.AsyncOpenAI, question: str) -> AsyncIterator[Any]:
    """The events of an answer."""
    stream = await client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": question}], stream=True
    )
    async for event in stream:
        yield event


def words(event: Any) -> str:
    """The text of an event."""
    return "".join(choice["delta"].get("content", "") for choice in event["choices"])


async def first_words(given: AsyncIterator[Any]) -> str:
    """The first text of an answer; the event of its role may come before it, or with it."""
    while not (text := words(await anext(given))):
        pass
    return text


async def test_the_first_words_wait_for_no_moment(endpoint: OpenAIEndpoint) -> None:
    """What the provider says first is given at once, though no moment ever comes."""
    async with connected(EventClient, endpoint.url, ticker=Moments()) as client:
        question = "[[fault=stall_after:1]]"
        async with aclosing(asked(client, question)) as given:  # type: ignore[type-var]
            first = await first_words(given)
    assert first == answer_pieces(question, 1)[0]


@pytest.mark.parametrize("change", [lambda client: client, lambda client: client.with_options()])
async def test_later_words_are_read_at_the_moments(
    endpoint: OpenAIEndpoint, change: Callable[[Any], Any]
) -> None:
    """What comes between two moments is one piece, with a copy of the client as well."""
    question = "[[tokens=30 interval_ms=1]]"
    moments = Moments()
    async with connected(EventClient, endpoint.url, ticker=moments) as client:
        async with aclosing(asked(change(client), question)) as given:  # type: ignore[type-var]
            first = await first_words(given)
            await endpoint.wait_sent(question, 30)
            moments.come.set()
            later = [text async for event in given if (text := words(event))]
    assert first + "".join(later) == "".join(answer_pieces(question, 30))
    assert len(later) <= 2
    assert moments.waits


# What is on the wire

Handler = Callable[[web.Request], Any]
TEXT = b'data: {"choices": [{"index": 0, "delta": {"content": "a"}}]}\n\n'
STOP = b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\n'
USAGE = b'data: {"choices": [], "usage": {"completion_tokens": 1}}\n\n'
DONE = b"data: [DONE]\n\n"
RESPONSE_TEXT = b'data: {"type": "response.output_text.delta", "delta": "a"}\n\n'
COMPLETED = b'data: {"type": "response.completed", "response": {"id": "resp_1"}}\n\n'


@asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[str]:
    """A server that answers every request in this way; its address."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def sending(*blocks: bytes, then: Callable[[web.Request], Any] | None = None) -> Handler:
    """A server that sends these blocks, and then does this."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for block in blocks:
            await response.write(block)
        if then:
            await then(request)
        return response

    return answer


async def cut(request: web.Request) -> None:
    """Cut the connection."""
    assert request.transport is not None
    request.transport.abort()


async def keep_open(_: web.Request) -> None:
    """Say nothing more, and keep the connection open."""
    await asyncio.get_running_loop().create_future()


async def read(
    handler: Handler, path: str = "chat", given: list[Any] | None = None, **options: Any
) -> list[Any]:
    """The events of an answer of this server; in `given`, where it fails after some."""
    given = [] if given is None else given
    async with served(handler) as url, connected(EventClient, url, **options) as client:
        stream: Any = (
            await client.chat.completions.create(model="m", messages=[], stream=True)
            if path == "chat"
            else await client.responses.create(model="m", input="", stream=True)
        )
        async for event in stream:
            given.append(event)  # what came before a failure counts
    return given


@pytest.mark.parametrize("then", [None, cut, keep_open])
async def test_an_answer_is_whole_once_its_reason_is_told(
    then: Callable[[web.Request], Any] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What may follow the reason is waited for, but nothing has to follow."""
    monkeypatch.setattr(openai_client, "REST_S", 0.2)
    monkeypatch.setattr(openai_client, "DRAIN_S", 0.05)
    assert len(await read(sending(TEXT, STOP, then=then))) == 2
    *_, last = await read(sending(TEXT, STOP, USAGE, then=then))
    assert last["usage"] == {"completion_tokens": 1}
    assert len(await read(sending(TEXT, DONE, then=then))) == 1
    *_, response = await read(sending(RESPONSE_TEXT, COMPLETED, then=then), "responses")
    assert response.type == "response.completed"


@pytest.mark.parametrize("path", ["chat", "responses"])
@pytest.mark.parametrize("then", [None, cut])
async def test_an_answer_that_breaks_off_is_given_first(
    path: str, then: Callable[[web.Request], Any] | None
) -> None:
    """A connection that breaks, or ends too early, does so after what it has brought."""
    block = TEXT if path == "chat" else RESPONSE_TEXT
    given: list[Any] = []
    with pytest.raises(openai.APIConnectionError) as failed:
        await read(sending(block, then=then), path, given)
    assert len(given) == 1
    assert isinstance(failed.value, Incomplete) == (then is None)


async def test_an_event_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is gathered of one event is bounded, over both of the APIs."""
    monkeypatch.setattr(event_stream, "MAX_EVENT_BYTES", 1_000)
    for path in ("chat", "responses"):
        with pytest.raises(ValueError, match="too long"):
            await read(sending(b"data: " + b"x" * 2_000), path)


async def test_an_answer_in_one_block_comes_as_one_text() -> None:
    """Tokens that the network brings together go on together."""
    assert len(await read(sending(TEXT * 50 + DONE))) == 1
    text, _ = await read(sending(RESPONSE_TEXT * 50 + COMPLETED), "responses")
    assert text.delta == "a" * 50


async def test_the_timeout_of_a_response_is_the_sdks() -> None:
    """A provider that falls silent in the middle is reported as by the SDK's own client."""
    with pytest.raises(openai.APITimeoutError):
        await read(sending(RESPONSE_TEXT, then=keep_open), "responses", timeout=0.3)


def response_stream() -> bytes:
    """A stream of the Responses API as OpenAI has it: thought, a tool, text, and its end."""
    common = {"object": "response", "created_at": 1, "model": "m", "metadata": {}, "tools": []}
    common |= {"parallel_tool_calls": True, "tool_choice": "auto", "output": [], "error": None}
    details = {"input_tokens_details": {"cached_tokens": 1}}
    details |= {"output_tokens_details": {"reasoning_tokens": 2}}
    usage = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7, **details}
    thought = {"id": "rs_1", "type": "reasoning", "summary": []}
    part = {"item_id": "rs_1", "output_index": 0, "summary_index": 0}
    call = {"id": "fc_1", "type": "function_call", "call_id": "c", "name": "f", "arguments": ""}
    text = {"item_id": "msg_1", "output_index": 2, "content_index": 0}
    cited = {"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed"}
    events: list[tuple[str, dict[str, Any]]] = [
        ("created", {"response": {**common, "id": "r", "status": "in_progress"}}),
        ("output_item.added", {"output_index": 0, "item": thought}),
        ("reasoning_summary_part.added", {**part, "part": {"type": "summary_text", "text": ""}}),
        ("reasoning_summary_text.delta", {**part, "delta": "hm"}),
        ("output_item.added", {"output_index": 1, "item": call}),
        ("function_call_arguments.delta", {"item_id": "fc_1", "output_index": 1, "delta": "{}"}),
        ("output_item.added", {"output_index": 2, "item": {**message, "content": []}}),
        ("output_text.delta", {**text, "delta": "a", "logprobs": []}),
        ("output_text.annotation.added", {**text, "annotation_index": 0, "annotation": cited}),
        ("output_text.delta", {**text, "delta": "b", "logprobs": []}),
        ("output_text.done", {**text, "text": "ab", "logprobs": []}),
        ("completed", {"response": {**common, "id": "r", "status": "completed", "usage": usage}}),
    ]  # fmt: skip
    return b"".join(
        b"event: response.%b\ndata: %b\n\n" % (kind.encode(), json.dumps(event).encode())
        for number, (kind, others) in enumerate(events)
        for event in [{"type": f"response.{kind}", "sequence_number": number, **others}]
    )


async def test_a_response_is_what_it_is_with_the_sdks_client() -> None:
    """Over the Responses API LangChain says the same with both clients."""
    dumps = []
    async with served(sending(response_stream())) as url:
        for sdk in (EventClient, openai.AsyncOpenAI):
            async with connected(sdk, url) as client:
                model = ChatOpenAI(
                    api_key=SecretStr("key"),
                    use_responses_api=True,
                    async_client=client.chat.completions,
                    root_async_client=client,
                    stream_chunk_timeout=None,
                )
                said = [message async for message in model.astream("why?")]
                dumps.append(functools.reduce(operator.add, said).model_dump(exclude={"id"}))
    assert dumps[0] == dumps[1]
    assert dumps[0]["usage_metadata"]["output_token_details"] == {"reasoning": 2}
    assert len(dumps[0]["content"]) == 3


async def test_other_streams_are_the_sdks() -> None:
    """What is streamed from another address is read by the SDK."""
    async with served(sending(TEXT, DONE)) as url, connected(EventClient, url) as client:
        stream = await client.completions.create(model="m", prompt="", stream=True)
        [event] = [event async for event in stream]
    assert event.choices[0].index == 0


# What it asks for


def counting(*refused: int) -> tuple[Handler, list[bool]]:
    """A server that refuses these requests, by number; which of all had `stream_options`."""
    seen: list[bool] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append("stream_options" in await request.json())
        if len(seen) in refused:
            error = {"message": f"refused {len(seen)}", "param": "stream_options"}
            return web.json_response({"error": error}, status=400 + 22 * (len(seen) % 2))
        response: web.StreamResponse = await sending(TEXT, DONE)(request)
        return response

    return answer, seen


async def ask(client: openai.AsyncOpenAI) -> int:
    """Ask with the option that some servers refuse; how many events there are."""
    stream = await client.chat.completions.create(
        model="m", messages=[], stream=True, stream_options={"include_usage": True}
    )
    return len([event async for event in stream])


async def test_a_server_that_refuses_an_option_is_asked_without() -> None:
    """A refused `stream_options` is left out, from then on without another try."""
    handler, seen = counting(1)
    async with served(handler) as url, connected(EventClient, url) as client:
        assert [await ask(client), await ask(client)] == [1, 1]
    assert seen == [True, False, False]


async def test_a_server_that_has_taken_an_option_means_something_else() -> None:
    """Once a request with the option has succeeded, a refusal is not the option's."""
    handler, seen = counting(2)
    async with served(handler) as url, connected(EventClient, url) as client:
        assert await ask(client) == 1
        with pytest.raises(openai.APIStatusError, match="refused 2"):
            await ask(client)
    assert seen == [True, True]


async def test_a_server_that_refuses_without_the_option_says_why() -> None:
    """Where it is not the option, the second refusal tells the reason, and nothing is learnt."""
    handler, seen = counting(1, 2)
    async with served(handler) as url, connected(EventClient, url) as client:
        with pytest.raises(openai.APIStatusError, match="refused 2"):
            await ask(client)
        assert await ask(client) == 1
    assert seen == [True, False, True]


async def test_other_refusals_are_not_the_options() -> None:
    """A key that is wrong is not tried with fewer options."""

    async def refuse(request: web.Request) -> web.Response:
        seen.append(request)
        return web.json_response({"error": {"message": "no"}}, status=401)

    seen: list[web.Request] = []
    async with served(refuse) as url, connected(EventClient, url) as client:
        with pytest.raises(openai.AuthenticationError):
            await ask(client)
    assert len(seen) == 1


# Who asks


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"api_key": "k"}, {"Authorization": "Bearer k"}),
        ({"api_key": ""}, {}),
        ({"api_key": "k", "api_key_header": True}, {"api-key": "k"}),
        ({"api_key": "", "api_key_header": True}, {}),
        ({"api_key": "", "default_headers": {"Authorization": "b"}}, {"Authorization": "b"}),
        (
            {"api_key": "k", "api_key_header": True, "default_headers": {"X": "y"}},
            {"api-key": "k", "X": "y"},
        ),
    ],
    ids=str,
)
async def test_the_key_goes_where_the_server_wants_it(
    options: dict[str, Any], expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a bearer, in a header of its own, or nowhere; a copy of the client does the same."""
    monkeypatch.setenv("OPENAI_API_KEY", "of the environment")
    seen: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        names = [name for name in ("Authorization", "api-key", "X") if name in request.headers]
        seen.append({name: request.headers[name] for name in names})
        if request.method == "GET":
            return web.json_response({"id": "m"})
        response: web.StreamResponse = await sending(TEXT, DONE)(request)
        return response

    async with served(answer) as url, connected(EventClient, url, **options) as client:
        await ask(client)
        await ask(client.copy(timeout=httpx2.Timeout(5)))
        await client.models.retrieve("m")
    assert seen == [expected] * 3
