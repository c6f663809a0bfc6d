"""What servers that call themselves OpenAI-compatible send, each with the right outcome.

The shapes are those of public reports and documentation; every value in them is ours.
"""

import functools
import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

import httpx2
import openai
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessageChunk
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from backend.llm.event_parts import Incomplete
from backend.llm.openai_client import EventClient, EventStream

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an answer comes to. `code` is the one of an error, `tokens` those of the output."""

    text: str = "Salt, mostly."
    thought: str = ""
    reason: str | None = "stop"
    tokens: int | None = None
    failure: type[Exception] | None = None
    code: str | None = None


# How events are written


def chunk(delta: Any = None, reason: str | None = None, **others: Any) -> Event:
    """An event as OpenAI sends it."""
    choice = {"index": 0, "delta": delta or {}, "logprobs": None, "finish_reason": reason}
    base = {"id": "chatcmpl-7", "object": "chat.completion.chunk", "created": 7, "model": "m-1"}
    return {**base, "choices": [choice], **others}


def choosing(*choices: Any, **others: Any) -> Event:
    """An event with these choices."""
    return {**chunk(), "choices": list(choices), **others}


def data(*events: Any, end: str = "\n", start: str = "data: ") -> bytes:
    """Events on the wire, in this spelling."""
    return "".join(start + json.dumps(event) + end * 2 for event in events).encode()


def usage(output: int, **others: Any) -> Event:
    """Token counts."""
    return {"prompt_tokens": 9, "completion_tokens": output, "total_tokens": 9 + output, **others}


def completion(message: Event, reason: str | None = "stop", **others: Any) -> Event:
    """A whole answer in place of a stream."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason}
    return {"id": "c", "object": "chat.completion", "choices": [choice], **others}


ROLE = chunk({"role": "assistant", "content": ""})
SALT, MOSTLY = chunk({"content": "Salt,"}), chunk({"content": " mostly."})
TEXT = [SALT, MOSTLY]
STOP = chunk({}, "stop")
DONE = b"data: [DONE]\n\n"
WHOLE = Outcome()
ERROR = {"message": "The upstream has gone.", "code": 502}
FAILED = Outcome("Salt,", failure=openai.APIError, code="502")
BROKEN = Outcome("Salt,", failure=Incomplete)
NO_ANSWER = Outcome("", failure=ValueError)

SHAPES: dict[str, tuple[bytes, Outcome]] = {
    # Servers
    "OpenAI": (
        data(ROLE, SALT, MOSTLY, STOP, choosing(usage=usage(3), service_tier="default")) + DONE,
        Outcome(tokens=3),
    ),
    "OpenAI: obfuscation and usage null": (
        data(*({**event, "usage": None, "obfuscation": "x7"} for event in [ROLE, *TEXT, STOP]))
        + DONE,
        WHOLE,
    ),
    "vLLM: thought, running usage, stop_reason": (
        data(
            chunk({"role": "assistant", "content": "", "reasoning_content": None}, usage=usage(0)),
            chunk({"reasoning_content": "Think"}, usage=usage(1)),
            chunk({"reasoning": "ing.", "reasoning_content": "ing."}, usage=usage(2)),
            chunk({"content": "Salt,"}, usage=usage(3)),
            chunk({"content": " mostly."}, usage=usage(4)),
            choosing(
                {"index": 0, "delta": {"content": ""}, "finish_reason": "stop", "stop_reason": None}
            ),
            choosing(usage=usage(5)),
        )
        + DONE,
        Outcome(thought="Thinking.", tokens=5),
    ),
    "vLLM: an error, then [DONE]": (
        data(SALT, {"error": {**ERROR, "type": "BadRequestError", "param": None}}) + DONE,
        FAILED,
    ),
    "vLLM, older: an error without a name": (
        data(SALT, {"object": "error", **ERROR, "type": "InternalServerError"}) + DONE,
        FAILED,
    ),
    "Ollama: role in every event, reasoning": (
        data(
            chunk({"role": "assistant", "content": "", "reasoning": "Thinking."}),
            chunk({"role": "assistant", "content": "Salt,"}),
            chunk({"role": "assistant", "content": " mostly."}),
            chunk({"role": "assistant", "content": ""}, "stop"),
            choosing(usage=usage(4)),
        )
        + DONE,
        Outcome(thought="Thinking.", tokens=4),
    ),
    "LM Studio: an event of the type error": (
        data(SALT) + b"event: error\ndata: " + json.dumps({"error": ERROR}).encode() + b"\n\n",
        FAILED,
    ),
    "LM Studio: stats": (
        data(*TEXT, chunk({}, "stop", stats={}, usage=usage(2))) + DONE,
        Outcome(tokens=2),
    ),
    "llama.cpp: content null first, timings last": (
        data(
            chunk({"role": "assistant", "content": None}),
            chunk({"reasoning_content": "Thinking."}),
            *TEXT,
            STOP,
            choosing(usage=usage(6), timings={"predicted_n": 6, "predicted_ms": 1.5}),
        )
        + DONE,
        Outcome(thought="Thinking.", tokens=6),
    ),
    "llama.cpp: an error in a field of its own": (
        data(SALT) + data({**ERROR, "type": "server_error"}, start="error: "),
        FAILED,
    ),
    "Azure: prompt filter first, asynchronous filter last": (
        data(
            choosing(prompt_filter_results=[{"prompt_index": 0, "content_filter_results": {}}]),
            ROLE,
            *TEXT,
            STOP,
            choosing(
                {
                    "index": 0,
                    "finish_reason": None,
                    "content_filter_results": {"hate": {"filtered": False}},
                    "content_filter_offsets": {"check_offset": 0, "end_offset": 13},
                }
            ),
            choosing({"index": 0, "delta": None, "finish_reason": None}),
        )
        + DONE,
        WHOLE,
    ),
    "Azure: the filter cuts the answer": (
        data(SALT, chunk({}, "content_filter")) + DONE,
        Outcome("Salt,", reason="content_filter"),
    ),
    "OpenRouter: keep-alive comments, thought twice": (
        b": OPENROUTER PROCESSING\n\n" * 3
        + data(
            chunk({
                "role": "assistant",
                "content": "",
                "reasoning": "Think",
                "reasoning_details": [
                    {"type": "reasoning.text", "text": "Think", "format": None, "index": 0}
                ],
            }),
            chunk({
                "role": "assistant",
                "content": "",
                "reasoning_details": [
                    {"type": "reasoning.summary", "summary": "ing.", "index": 0},
                    {"type": "reasoning.encrypted", "data": "x7", "index": 1},
                ],
            }),
        )
        + b": OPENROUTER PROCESSING\n\n"
        + data(
            chunk({"role": "assistant", "content": "Salt,", "reasoning": None}),
            chunk({"role": "assistant", "content": " mostly."}),
            choosing({
                "index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None,
                "finish_reason": "stop", "native_finish_reason": "completed",
            }),
            choosing(
                {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None},
                usage=usage(8, cost=0.1, completion_tokens_details={"reasoning_tokens": 5}),
            ),
        )
        + DONE,
        Outcome(thought="Thinking.", tokens=8),
    ),
    "OpenRouter: an error in the middle": (
        data(SALT, chunk({"content": ""}, "error", error=ERROR)),
        FAILED,
    ),
    "OpenRouter: an error in the choice": (
        data(SALT, choosing({"index": 0, "delta": {}, "error": ERROR, "finish_reason": "error"})),
        FAILED,
    ),
    "OpenRouter: a reason that is an error": (
        data(SALT, chunk({"content": ""}, "error")) + DONE,
        Outcome("Salt,", failure=openai.APIError),
    ),
    "Groq: usage in a field of its own": (
        data(
            chunk({"role": "assistant", "content": ""}, x_groq={"id": "req_7"}),
            chunk({"reasoning": "Thinking.", "channel": "analysis"}),
            *TEXT,
            chunk({}, "stop", x_groq={"id": "req_7", "usage": usage(5, queue_time=0.1)}),
        )
        + DONE,
        Outcome(thought="Thinking.", tokens=5),
    ),
    "DeepSeek: thought, then text": (
        data(
            chunk({"role": "assistant", "content": None, "reasoning_content": ""}),
            chunk({"content": None, "reasoning_content": "Thinking."}),
            chunk({"content": "Salt,", "reasoning_content": None}),
            chunk({"content": " mostly.", "reasoning_content": None}),
            chunk({"content": "", "reasoning_content": None}, "stop", usage=usage(7)),
        )
        + DONE,
        Outcome(thought="Thinking.", tokens=7),
    ),
    "Gemini: usage in every event, a call without an index": (
        data(
            chunk({"role": "assistant", "content": "Salt,"}, usage=usage(2)),
            chunk({"role": "assistant", "content": " mostly."}, usage=usage(4)),
            chunk({"role": "assistant", "tool_calls": [
                {"id": "f", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            ]}, "tool_calls", usage=usage(6)),
        )
        + DONE,
        Outcome(reason="tool_calls", tokens=6),
    ),
    "LiteLLM: an error with a code that is text": (
        data(SALT, {"error": {**ERROR, "code": "502", "type": "None", "param": "None"}}),
        FAILED,
    ),
    "LiteLLM: fields of several providers, usage at the end": (
        data(
            chunk({"role": "assistant", "content": "", "reasoning_content": "Thinking.",
                   "thinking_blocks": [{"type": "thinking", "thinking": "Thinking."}],
                   "provider_specific_fields": None}),
            chunk({"content": "Salt,", "function_call": None, "tool_calls": None}),
            MOSTLY,
            STOP,
            chunk({}, usage=usage(3, prompt_tokens_details=None)),
        )
        + DONE,
        Outcome(thought="Thinking.", tokens=3),
    ),
    "Mistral: content as a list of parts": (
        data(
            chunk({"role": "assistant", "content": ""}),
            chunk({"content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "Thinking."}]}
            ]}),
            chunk({"content": [{"type": "text", "text": "Salt,"}]}),
            MOSTLY,
            chunk({"content": ""}, "stop", usage=usage(4)),
        )
        + DONE,
        Outcome(thought="Thinking.", tokens=4),
    ),
    "Perplexity: delta beside message, running usage": (
        data(
            choosing({"index": 0, "delta": {"role": "assistant", "content": "Salt,"},
                      "message": {"role": "assistant", "content": "Salt,"}}, usage=usage(1)),
            choosing({"index": 0, "delta": {"content": " mostly."},
                      "message": {"content": "Salt, mostly."}}, usage=usage(3)),
            choosing({"index": 0, "delta": {"content": ""}, "finish_reason": "stop",
                      "message": {"content": "Salt, mostly."}}, usage=usage(3)),
        ),
        Outcome(tokens=3),
    ),
    "xAI: running usage, usage once more": (
        data(
            chunk({"role": "assistant", "content": "Salt,"}, usage=usage(1)),
            chunk({"content": " mostly."}, usage=usage(2)),
            chunk({}, "stop", usage=usage(2)),
            choosing(usage=usage(2)),
        )
        + DONE,
        Outcome(tokens=2),
    ),
    "Moonshot: usage within the choice": (
        data(*TEXT, choosing({"index": 0, "delta": {}, "finish_reason": "stop", "usage": usage(3)}))
        + DONE,
        Outcome(tokens=3),
    ),
    # Events
    "choices null": (data(chunk() | {"choices": None}, *TEXT, STOP) + DONE, WHOLE),
    "no choices": (data({"id": "c"}, *TEXT, STOP) + DONE, WHOLE),
    "delta null in the middle": (
        data(SALT, choosing({"index": 0, "delta": None}), MOSTLY, STOP) + DONE,
        WHOLE,
    ),
    "delta null with the reason": (
        data(*TEXT, choosing({"index": 0, "delta": None, "finish_reason": "stop"})) + DONE,
        WHOLE,
    ),
    "delta null behind the reason": (
        data(*TEXT, STOP, choosing({"index": 0, "delta": None, "finish_reason": None})) + DONE,
        WHOLE,
    ),
    "no delta": (data(SALT, choosing({"index": 0}), MOSTLY, STOP) + DONE, WHOLE),
    "content null": (data(SALT, chunk({"content": None}), MOSTLY, STOP) + DONE, WHOLE),
    "content a number": (data(SALT, chunk({"content": 7}), MOSTLY, STOP) + DONE, WHOLE),
    "null, a list, a text": (data(SALT, None, [], "a", MOSTLY, STOP) + DONE, WHOLE),
    "no index": (
        data(*(choosing({"delta": {"content": text}}) for text in ("Salt,", " mostly.")), STOP)
        + DONE,
        WHOLE,
    ),
    "a second answer": (
        data(SALT, choosing({"index": 1, "delta": {"content": "Fish"}, "finish_reason": "stop"}),
             MOSTLY, STOP) + DONE,
        WHOLE,
    ),
    "an odd role": (data(chunk({"role": "model", "content": "Salt,"}), MOSTLY, STOP) + DONE, WHOLE),
    "text beside the reason": (data(SALT, chunk({"content": " mostly."}, "stop")) + DONE, WHOLE),
    "a reason that is empty": (
        data(chunk({"content": "Salt,"}, ""), chunk({"content": " mostly."}, ""), STOP) + DONE,
        WHOLE,
    ),
    "a reason told three times": (data(*TEXT, STOP, STOP, STOP) + DONE, WHOLE),
    "a reason behind the text, and text behind it": (data(SALT, STOP, MOSTLY) + DONE, WHOLE),
    "usage behind the reason": (data(*TEXT, STOP, choosing(usage=usage(2))), Outcome(tokens=2)),
    "usage that is none": (
        data(chunk({"content": "Salt,"}, usage="none"), MOSTLY, STOP, choosing(usage={"a": None}))
        + DONE,
        WHOLE,
    ),
    "a refusal": (
        data(chunk({"role": "assistant", "content": None, "refusal": "Salt,"}),
             chunk({"refusal": " mostly."}), STOP) + DONE,
        Outcome(reason="refusal"),
    ),
    "calls of tools": (
        data(
            SALT, MOSTLY,
            chunk({"tool_calls": [{"index": 0, "id": "c", "type": "function",
                                   "function": {"name": "f", "arguments": ""}}]}),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}),
            chunk({"tool_calls": [{"index": 0, "function": None}, None]}),
            chunk({}, "tool_calls"),
        ) + DONE,
        Outcome(reason="tool_calls"),
    ),
    "UTF-8": (
        b'data: {"choices": [{"delta": {"content": "\xe6\xbc\xa2 \xf0\x9f\xa6\x8a"}}]}\n\n'
        + data(STOP) + DONE,
        Outcome("\u6f22 \U0001f98a"),
    ),
    # Lines
    "CRLF": (data(*TEXT, STOP, end="\r\n") + b"data: [DONE]\r\n\r\n", WHOLE),
    "CR": (data(*TEXT, STOP, end="\r") + b"data: [DONE]\r\r", WHOLE),
    "no blank behind the colon": (data(*TEXT, STOP, start="data:") + b"data:[DONE]\n\n", WHOLE),
    "a byte-order mark": (b"\xef\xbb\xbf" + data(*TEXT, STOP) + DONE, WHOLE),
    "ids, types, retry": (
        data(*TEXT, STOP, start="event: completion\nid: 7\nretry: 10\ndata: ") + DONE,
        WHOLE,
    ),
    "an event over several lines": (
        b"data: " + json.dumps(SALT, indent=1).replace("\n", "\ndata: ").encode() + b"\n\n"
        + data(MOSTLY, STOP) + DONE,
        WHOLE,
    ),
    "keep-alive events": (
        data(SALT) + b"event: ping\ndata: 12:00\n\ndata:\n\n:\n\n" + data(MOSTLY, STOP) + DONE,
        WHOLE,
    ),
    # Ends
    "a reason, no [DONE]": (data(*TEXT, STOP), WHOLE),
    "[DONE], no reason": (data(*TEXT) + DONE, Outcome(reason=None)),
    "neither": (data(SALT), BROKEN),
    "cut within an event": (data(SALT) + data(MOSTLY)[:-9], BROKEN),
    "cut within [DONE]": (data(SALT) + b"data: [DO", BROKEN),
    "something behind [DONE]": (data(*TEXT, STOP) + DONE + data(SALT) + b"data: {\n\n", WHOLE),
    "nothing at all": (b"", Outcome("", failure=Incomplete)),
    "no JSON": (data(SALT) + b"data: {salt\n\n", Outcome("Salt,", failure=ValueError)),
    # No streams
    "plain JSON": (
        json.dumps(completion({"content": "Salt, mostly."}, usage=usage(3))).encode(),
        Outcome(tokens=3),
    ),
    "plain JSON with a mark, in lines": (
        b"\xef\xbb\xbf\r\n"
        + json.dumps(completion({"content": "Salt, mostly.", "reasoning": "Thinking."}), indent=2)
        .replace("\n", "\r\n\r\n").encode(),
        Outcome(thought="Thinking."),
    ),
    "plain JSON in an event": (
        data(completion({"content": "Salt, mostly."}, usage=usage(3))),
        Outcome(tokens=3),
    ),
    "plain JSON that is an error": (
        json.dumps({"error": ERROR}).encode(),
        Outcome("", failure=openai.APIError, code="502"),
    ),
    "plain JSON that is something else": (b'{"detail": "Not Found"}', NO_ANSWER),
    "plain JSON that is cut": (b'{"id": "chatcmpl-', NO_ANSWER),
    "a page": (b"<!DOCTYPE html>\n\n<title>Sign in</title>\n\n", NO_ANSWER),
    "some text": (b"Bad gateway", NO_ANSWER),
}  # fmt: skip

IDS = list(SHAPES)


# Through LangChain, over HTTP


async def langchain_outcome(body: bytes) -> Outcome:
    """What LangChain's model makes of a body that a server sends."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="text/event-stream")

    app = web.Application()
    app.router.add_post("/chat/completions", answer)
    async with TestServer(app) as server, openai.DefaultAioHttpClient() as http:
        client = EventClient(api_key="key", base_url=str(server.make_url("/")), http_client=http)
        model = ChatOpenAI(
            api_key=SecretStr("key"),
            async_client=client.chat.completions,
            root_async_client=client,
            stream_chunk_timeout=None,
        )
        whole = AIMessageChunk(content="")
        try:
            async for message in model.astream("Why is the sea salty?"):
                whole += message
        except Exception as exc:
            return Outcome(whole.text, failure=kind_of(exc), code=getattr(exc, "code", None))
    tokens = whole.usage_metadata["output_tokens"] if whole.usage_metadata else None
    return Outcome(whole.text, "", whole.response_metadata.get("finish_reason"), tokens)


def kind_of(exc: Exception) -> type[Exception]:
    """What has failed; LangChain has types of its own for some failures of the SDK."""
    if isinstance(exc.__cause__, Incomplete):
        return Incomplete
    return ValueError if isinstance(exc, ValueError) else type(exc)


@pytest.mark.parametrize("name", IDS)
async def test_langchain_gives_the_right_outcome(name: str) -> None:
    """Text, reason, token counts and failures are right at the other end of LangChain."""
    body, expected = SHAPES[name]
    outcome = await langchain_outcome(body)
    assert (outcome.text, outcome.failure, outcome.code) == (
        expected.text,
        expected.failure,
        expected.code,
    )
    if not expected.failure:
        assert (outcome.reason, outcome.tokens) == (expected.reason, expected.tokens)


# The client's events, wherever the network cuts


class Cut(httpx2.AsyncByteStream):
    """A body that comes in these blocks."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = blocks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for block in self._blocks:
            yield block

    async def aclose(self) -> None:
        """Hold nothing open."""


@functools.cache
def silent_client() -> EventClient:
    """A client that is asked for nothing; it takes longer to make than a body to read."""
    return EventClient(api_key="key", base_url="http://localhost")


async def client_outcome(blocks: Iterable[bytes]) -> Outcome:
    """What the client's events come to, read out of these blocks."""
    request = httpx2.Request("POST", "http://localhost/chat/completions")
    response = httpx2.Response(200, stream=Cut(blocks), request=request)
    text, thought, tokens, reason = "", "", None, None
    try:
        async for event in EventStream(cast_to=object, response=response, client=silent_client()):
            for choice in event["choices"]:
                text += choice["delta"].get("content") or ""
                thought += choice["delta"].get("reasoning_content") or ""
                reason = choice.get("finish_reason") or reason
            tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
    except (openai.APIError, ValueError) as exc:
        kind = ValueError if isinstance(exc, ValueError) else type(exc)
        return Outcome(text, failure=kind, code=getattr(exc, "code", None))
    return Outcome(text, thought, reason, tokens)


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("size", [1, 2, 3, 1_000_000], ids=lambda size: f"{size} bytes")
async def test_the_client_gives_the_right_outcome(name: str, size: int) -> None:
    """Text, thought, reason, token counts and failures are right, whole or byte by byte."""
    body, expected = SHAPES[name]
    blocks = [body[place : place + size] for place in range(0, len(body), size)]
    assert await client_outcome(blocks) == expected


@given(st.sampled_from(IDS), st.data())
@settings(max_examples=300)
async def test_it_does_not_matter_where_the_network_cuts(name: str, draw: st.DataObject) -> None:
    """However a body is cut into reads, its outcome is the same."""
    body, expected = SHAPES[name]
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    blocks = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    assert await client_outcome(blocks) == expected
