"""What is measured by itself: the way to the first piece, idle sockets, the start."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass

import aiohttp
import openai
import psutil  # type: ignore[import-untyped]  # it ships no types

from tests.benchmarks.client import connected
from tests.benchmarks.load import Load
from tests.benchmarks.programs import Stack, accepts, backend_environment, free_port, running

SETTLE_S = 0.5  # after the last socket was opened
SETTLED_S = 30.0  # a start that takes longer has failed


@dataclass(frozen=True, slots=True)
class FirstPiece:
    """The median way to a first piece, through the backend and without it, in milliseconds."""

    through_ms: float
    direct_ms: float

    @property
    def added_ms(self) -> float:
        """What the backend adds."""
        return self.through_ms - self.direct_ms


async def first_piece(stack: Stack, questions: int) -> FirstPiece:
    """Ask the backend and the bare SDK in turn, one user, everything warm."""
    through, direct = [], []
    async with aiohttp.ClientSession() as http, openai.DefaultAioHttpClient() as model_http:
        sdk = openai.AsyncOpenAI(base_url=stack.model_url, api_key="test", http_client=model_http)
        for number in range(-3, questions):  # the first ones are not counted
            load = Load(1, 3, 1)
            took = await _through(http, stack.url, load.question(number)), await _direct(sdk, load)
            if number >= 0:
                through.append(took[0])
                direct.append(took[1])
    return FirstPiece(statistics.median(through) * 1000, statistics.median(direct) * 1000)


async def _through(http: aiohttp.ClientSession, url: str, question: str) -> float:
    async with connected(http, url, question, 3) as client:
        await client.ask("Redis")
        await client.ended.wait()
        assert client.answer.first_at is not None
        return client.answer.first_at - client.answer.asked_at


async def _direct(sdk: openai.AsyncOpenAI, load: Load) -> float:
    began, first = time.perf_counter(), 0.0
    stream = await sdk.chat.completions.create(
        model="gpt-4", messages=[{"role": "user", "content": load.question(0)}], stream=True
    )
    async for event in stream:
        if not first and event.choices and event.choices[0].delta.content:
            first = time.perf_counter() - began
    return first


async def idle_kb(stack: Stack, sockets: int) -> float:
    """What an open socket that asks nothing costs the server in memory."""
    server = psutil.Process(stack.pid)
    async with AsyncExitStack() as opened:
        http = await opened.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        )
        # Some first: what a process allocates once is not a socket's.
        for number in range(sockets + sockets // 20):
            if number == sockets // 20:
                before = server.memory_info().rss
            await opened.enter_async_context(connected(http, stack.url, "", 0))
        await asyncio.sleep(SETTLE_S)
        return float(server.memory_info().rss - before) / sockets / 1000


async def start_s(redis_url: str, model_url: str) -> float:
    """How long `python -m backend` takes until it accepts a connection."""
    port = free_port()
    environment = backend_environment(redis_url, model_url, port)
    began = time.perf_counter()
    async with running([sys.executable, "-m", "backend"], environment) as backend:
        async with asyncio.timeout(SETTLED_S):
            while not await accepts(port):
                backend.check()
                await asyncio.sleep(0.005)
        return time.perf_counter() - began
