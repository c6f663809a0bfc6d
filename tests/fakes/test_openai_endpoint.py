"""The fake endpoint, seen through the clients that the backend uses."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing

import aiohttp
import openai
import pytest
from langchain_core.messages import AIMessageChunk
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from tests.fakes.openai_endpoint import (
    LEAK_MARKER,
    OpenAIEndpoint,
    Script,
    answer_pieces,
    expected_answer,
    foreign_pieces,
)


@pytest.fixture
async def endpoint() -> AsyncIterator[OpenAIEndpoint]:
    """A fake endpoint whose answers have 12 pieces and no pauses."""
    async with OpenAIEndpoint(Script(tokens=12)) as endpoint:
        yield endpoint


@pytest.fixture
async def sdk(endpoint: OpenAIEndpoint) -> AsyncIterator[openai.AsyncOpenAI]:
    """The OpenAI SDK, which does not retry."""
    async with openai.AsyncOpenAI(base_url=endpoint.url, api_key="test", max_retries=0) as sdk:
        yield sdk


@pytest.fixture
async def model(endpoint: OpenAIEndpoint) -> AsyncIterator[ChatOpenAI]:
    """LangChain's model, which does not retry."""
    async with openai.DefaultAsyncHttpxClient() as http:
        yield ChatOpenAI(
            base_url=endpoint.url,
            api_key=SecretStr("test"),
            model="gpt-4",
            max_retries=0,
            http_async_client=http,
        )


async def stream_text(sdk: openai.AsyncOpenAI, question: str) -> tuple[str, list[str | None]]:
    """The answer as the SDK streams it, and the finish reasons that came."""
    stream = await sdk.chat.completions.create(
        model="gpt-4", messages=[{"role": "user", "content": question}], stream=True
    )
    text, reasons = "", []
    async for chunk in stream:
        text += chunk.choices[0].delta.content or ""
        reasons.append(chunk.choices[0].finish_reason)
    return text, [reason for reason in reasons if reason]


async def test_streams_the_expected_answer(sdk: openai.AsyncOpenAI) -> None:
    """A streamed answer equals, byte for byte, what was computed from the question."""
    text, reasons = await stream_text(sdk, "why?")
    assert text == expected_answer("why?", 12)
    assert reasons == ["stop"]


async def test_langchain_streams_the_expected_answer(
    model: ChatOpenAI, endpoint: OpenAIEndpoint
) -> None:
    """LangChain sees one piece per token, the finish reason and the usage."""
    chunks = [chunk async for chunk in model.astream("why?", stream_usage=True)]
    total = AIMessageChunk(content="")
    for chunk in chunks:
        total += chunk
    assert [chunk.content for chunk in chunks if chunk.content] == answer_pieces("why?", 12)
    assert total.response_metadata["finish_reason"] == "stop"
    assert total.usage_metadata is not None
    assert total.usage_metadata["output_tokens"] == 12
    [request] = endpoint.requests
    assert request.body["stream"] is True
    assert request.headers["Authorization"] == "Bearer test"
    assert request.completed


async def test_answers_without_a_stream(model: ChatOpenAI) -> None:
    """A request that does not stream gets the same answer as one body."""
    message = await model.ainvoke("why?")
    assert message.content == expected_answer("why?", 12)


async def test_answers_of_two_questions_differ() -> None:
    """Every piece names its question, so a foreign one is recognised."""
    mine, other = answer_pieces("mine", 30), answer_pieces("other", 30)
    assert set(mine).isdisjoint(other)
    assert foreign_pieces("mine", "".join(mine)) == 0
    assert foreign_pieces("mine", "".join(mine + other)) == 30
    assert not expected_answer("mine", 30).isascii()


async def test_directives_win_over_the_default(sdk: openai.AsyncOpenAI) -> None:
    """Concurrent questions are answered by the directives that each one carries."""
    short, long = "a [[tokens=3]]", "b [[tokens=40 interval_ms=1 fault=finish:length]]"
    answers = await asyncio.gather(stream_text(sdk, short), stream_text(sdk, long))
    assert answers[0] == (expected_answer(short, 3), ["stop"])
    assert answers[1] == (expected_answer(long, 40), ["length"])


async def test_many_streams_at_once_stay_apart(endpoint: OpenAIEndpoint) -> None:
    """A hundred concurrent answers are all right."""
    questions = [f"{number} [[tokens=30 interval_ms=1]]" for number in range(100)]
    async with openai.AsyncOpenAI(base_url=endpoint.url, api_key="test") as sdk:
        answers = await asyncio.gather(*(stream_text(sdk, question) for question in questions))
    assert [text for text, _ in answers] == [expected_answer(q, 30) for q in questions]
    assert endpoint.open_streams == 0
    assert endpoint.peak_open_streams > 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("401", openai.AuthenticationError),
        ("429", openai.RateLimitError),
        ("429:insufficient_quota", openai.RateLimitError),
        ("500", openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_refusals(
    sdk: openai.AsyncOpenAI, fault: str, error: type[openai.APIStatusError], stream: bool
) -> None:
    """A refusal raises the SDK's own error, whose text holds the marker of a leak."""
    with pytest.raises(error) as caught:
        await sdk.chat.completions.create(
            model="gpt-4",
            messages=[{"role": "user", "content": f"[[fault={fault}]]"}],
            stream=stream,
        )
    assert LEAK_MARKER in str(caught.value)
    if ":" in fault:
        assert caught.value.code == "insufficient_quota"


async def test_html_instead_of_an_answer(model: ChatOpenAI) -> None:
    """A page with status 200 is not taken for an answer."""
    with pytest.raises(ValueError, match=LEAK_MARKER):
        await model.ainvoke("[[fault=html]]")
    with pytest.raises(ValueError, match="No generation"):
        _ = [chunk async for chunk in model.astream("[[fault=html]]")]


async def test_a_cut_connection_raises(sdk: openai.AsyncOpenAI) -> None:
    """An abort in the middle of an answer is an error, after the pieces sent before it."""
    question = "[[tokens=20 interval_ms=1 fault=cut_after:5]]"
    stream = await sdk.chat.completions.create(
        model="gpt-4", messages=[{"role": "user", "content": question}], stream=True
    )
    text = ""

    async def read() -> None:
        nonlocal text
        async for chunk in stream:
            text += chunk.choices[0].delta.content or ""

    with pytest.raises(openai.APIConnectionError):
        await read()
    assert text == expected_answer(question, 5)


async def test_a_clean_end_looks_like_success(model: ChatOpenAI) -> None:
    """A body that ends without a finish reason raises nothing: only its absence tells."""
    question = "[[fault=clean_eof_after:5]]"
    chunks = [chunk async for chunk in model.astream(question)]
    assert "".join(str(chunk.content) for chunk in chunks) == expected_answer(question, 5)
    assert not any("finish_reason" in chunk.response_metadata for chunk in chunks)


async def test_an_error_event_raises(sdk: openai.AsyncOpenAI) -> None:
    """An error inside the stream raises, and holds the marker of a leak."""
    with pytest.raises(openai.APIError, match=LEAK_MARKER):
        await stream_text(sdk, "[[fault=error_event_after:5]]")


async def test_garbage_raises(sdk: openai.AsyncOpenAI) -> None:
    """An event that is no JSON raises."""
    with pytest.raises(ValueError, match="Unterminated"):
        await stream_text(sdk, "[[fault=garbage_json_after:5]]")


async def test_empty_deltas_add_nothing(model: ChatOpenAI) -> None:
    """Empty pieces between the others leave the answer as it is."""
    question = "[[fault=empty_deltas]]"
    chunks = [chunk async for chunk in model.astream(question)]
    assert "".join(str(chunk.content) for chunk in chunks) == expected_answer(question, 12)
    assert sum(not chunk.content for chunk in chunks) >= 24


async def test_content_filter_is_the_finish_reason(sdk: openai.AsyncOpenAI) -> None:
    """A filtered answer says so in its finish reason only."""
    _, reasons = await stream_text(sdk, "[[fault=finish:content_filter]]")
    assert reasons == ["content_filter"]


async def test_fails_a_number_of_times(sdk: openai.AsyncOpenAI, endpoint: OpenAIEndpoint) -> None:
    """The first K requests with a question fail, whatever others ask; then it works."""
    question = "[[fault=fail_times:2]]"
    for _ in range(2):
        with pytest.raises(openai.InternalServerError):
            await stream_text(sdk, question)
        await stream_text(sdk, "another")
    text, _ = await stream_text(sdk, question)
    assert text == expected_answer(question, 12)
    assert [request.completed for request in endpoint.requests_for(question)] == [
        False,
        False,
        True,
    ]


async def test_any_fault_can_pass(sdk: openai.AsyncOpenAI) -> None:
    """With `times=1` only the first request is spoiled."""
    question = "[[fault=error_event_after:5 times=1]]"
    with pytest.raises(openai.APIError):
        await stream_text(sdk, question)
    text, _ = await stream_text(sdk, question)
    assert text == expected_answer(question, 12)


@pytest.mark.parametrize(
    "fault", ["stall_before_first", "stall_after:0", "stall_after:3", "keepalive_comments_only"]
)
async def test_a_client_that_leaves_a_silent_stream_is_noticed(
    sdk: openai.AsyncOpenAI, endpoint: OpenAIEndpoint, fault: str
) -> None:
    """A test can wait until a request is open, and until its client has closed it."""
    question = f"[[interval_ms=5 fault={fault}]]"
    asking = asyncio.create_task(stream_text(sdk, question))
    request = await endpoint.wait_open(question)
    await endpoint.wait_sent(question, 3 if fault == "stall_after:3" else 0)
    assert endpoint.open_streams == 1
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await endpoint.wait_closed(question) is request
    assert not request.completed
    assert endpoint.open_streams == 0


async def test_cancelling_langchain_closes_the_connection(
    model: ChatOpenAI, endpoint: OpenAIEndpoint
) -> None:
    """An answer that is abandoned half-way stops being sent."""
    question = "[[tokens=1000 interval_ms=2]]"
    async with aclosing(model.astream(question)) as chunks:  # type: ignore[type-var]
        async for _ in chunks:
            if (await endpoint.wait_open(question)).sent >= 3:
                break
    request = await endpoint.wait_closed(question)
    assert 3 <= request.sent < 1000


async def test_a_short_opening_is_not_missed(
    sdk: openai.AsyncOpenAI, endpoint: OpenAIEndpoint
) -> None:
    """Who waits for an open request gets it, even where it has closed again by then."""
    waiting = asyncio.create_task(endpoint.wait_open("[[fault=401]]"))
    with pytest.raises(openai.AuthenticationError):
        await stream_text(sdk, "[[fault=401]]")
    assert await waiting is endpoint.requests[0]


async def test_waiting_in_vain_says_for_what(endpoint: OpenAIEndpoint) -> None:
    """A wait is bounded, and its error names what did not happen."""
    with pytest.raises(TimeoutError, match="was not open"):
        await endpoint.wait_open("never asked", timeout_s=0.01)


@pytest.mark.parametrize("fault", ["sometimes", "cut_after", "cut_after:x", "401:2"])
def test_an_unknown_fault_is_refused(fault: str) -> None:
    """A misspelt fault cannot pass for a healthy answer."""
    with pytest.raises(ValueError, match="unknown fault"):
        Script(fault=fault)


async def test_an_unknown_directive_is_a_bad_request(sdk: openai.AsyncOpenAI) -> None:
    """A misspelt directive is answered with 400, not with an answer."""
    with pytest.raises(openai.BadRequestError, match="unknown directive"):
        await stream_text(sdk, "[[token=3]]")


async def test_closing_cuts_running_answers_and_frees_the_port(sdk: openai.AsyncOpenAI) -> None:
    """An endpoint that closes cuts its streams; entered again, it listens where it did."""
    endpoint = OpenAIEndpoint(Script(tokens=12))
    async with endpoint:
        url = endpoint.url
        asking = asyncio.create_task(
            stream_text(sdk.with_options(base_url=url), "[[fault=stall_after:1]]")
        )
        await endpoint.wait_sent("[[fault=stall_after:1]]", 1)
    with pytest.raises(openai.APIConnectionError):
        await asking
    async with endpoint:
        assert endpoint.url == url
        text, _ = await stream_text(sdk.with_options(base_url=url), "again")
    assert text == endpoint.answer_to("again")


async def test_runs_as_a_program() -> None:
    """Started as a program it prints its URL, counts requests and ends on SIGTERM."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.fakes.openai_endpoint", "--tokens", "7", "--interval-ms", "0"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        url = (await process.stdout.readline()).decode().strip()
        async with openai.AsyncOpenAI(base_url=url, api_key="test") as sdk:
            text, _ = await stream_text(sdk, "why?")
        async with aiohttp.ClientSession() as http, http.get(f"{url}/../stats") as response:
            stats = await response.json()
    finally:
        process.terminate()
        status = await process.wait()
    assert text == expected_answer("why?", 7)
    assert stats == {"requests": 1, "open_streams": 0, "peak_open_streams": 1}
    assert status == 0
