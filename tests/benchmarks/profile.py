"""Where the CPU time of a token goes: each layer measured together with all those below it.

python -m tests.benchmarks.profile
    runs the same load through more and more of the backend, in turn and several times;
    what a layer adds is what it costs

The layers below the sockets run in this process, the whole backend in one of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

import aiohttp
import uvloop
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI

from backend.app import ServerParts, SharedParts, WorkerParts, load_configured_chain
from backend.llm.langchain_model import ModelChain
from backend.llm.models import load_chain
from backend.protocol.entries import Ending
from backend.protocol.requests import Ask, new_question_id
from backend.runtime.background_tasks import BackgroundTasks
from backend.runtime.gc_tuning import collect_seldom, skip_existing_objects
from backend.server.question_service import QuestionService
from backend.settings import Settings
from backend.store.connection import connect
from backend.worker.writer import AnswerWriter
from tests.benchmarks.load import Load, run
from tests.benchmarks.programs import (
    DidNotStart,
    fake_endpoint,
    raise_file_limit,
    redis_server,
    started,
)

TOPIC = "Redis"
Answering = Callable[[str], Awaitable[None]]  # of one question, to its end


class Layers:
    """The ways to answer a question with more and more of the backend."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        chain: ModelChain,
        writer: AnswerWriter,
        answers: QuestionService,
        model_url: str,
    ) -> None:
        assert isinstance(chain._model, ChatOpenAI)
        self._http = http
        self._chain = chain
        self._model = chain._model
        self._writer = writer
        self._answers = answers
        self._model_url = model_url

    def all(self) -> dict[str, Answering]:
        """The layers by name, the lowest first."""
        return {
            "network: the bytes of the model's answer": self._network,
            "client: its events": self._client,
            "model: LangChain's messages": self._langchain,
            "chain: prompt | model | parser": self._pieces,
            "writer: START, pieces, END in Redis": self._written,
            "queue, worker, tail, reader: all but sockets": self._answered,
        }

    async def _network(self, question: str) -> None:
        url, body = f"{self._model_url}/chat/completions", _request(question)
        async with self._http.post(url, json={"model": "gpt-4", "stream": True, **body}) as reply:
            async for _ in reply.content.iter_any():
                pass

    async def _client(self, question: str) -> None:
        body = _request(question)
        events = await self._model.async_client.create(model="gpt-4", stream=True, **body)
        async for _ in events:
            pass

    async def _langchain(self, question: str) -> None:
        async for _ in self._model.astream([HumanMessage(content=question)]):
            pass

    async def _pieces(self, question: str) -> None:
        async with aclosing(self._chain.stream(TOPIC, question)) as pieces:
            async for _ in pieces:
                pass

    async def _written(self, question: str) -> None:
        answer = self._writer.open("OPENAI_STREAM", new_question_id(), 1)
        await answer.start()
        async with aclosing(self._chain.stream(TOPIC, question)) as pieces:
            async for piece in pieces:
                if isinstance(piece, str):
                    await answer.append(piece)
        await answer.end(Ending("done"))

    async def _answered(self, question: str) -> None:
        ask = Ask(new_question_id(), TOPIC, question)
        record = await self._answers.ask(ask, "USER1")
        async with aclosing(self._answers.follow(record)) as entries:
            async for _ in entries:
                pass


def _request(question: str) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": question}]}


@asynccontextmanager
async def layers(redis_url: str, model_url: str) -> AsyncIterator[Layers]:
    """The layers, with all that they need at work."""
    settings = Settings(openai_api_key="test", openai_base_url=model_url, redis_url=redis_url)
    shared = SharedParts(connect(redis_url), settings)
    server, worker = ServerParts(shared), WorkerParts(shared, load_configured_chain).worker
    chain = load_chain(settings)
    tasks = BackgroundTasks(shared.writer.run, *server.runs, worker.run)
    async with aiohttp.ClientSession() as http, shared.storage, tasks:
        await server.tail.begun()
        yield Layers(http, chain, shared.writer, server.answers, model_url)
    await chain.aclose()


async def cpu_us(answering: Answering, load: Load) -> float:
    """The CPU time of this process for each token of a load."""
    questions = [load.question(number) for number in range(load.clients)]
    began = time.process_time()
    await asyncio.gather(*map(answering, questions))
    return (time.process_time() - began) / load.all_tokens * 1e6


async def profile(load: Load, runs: int) -> dict[str, list[float]]:
    """All values of every layer, and last those of the whole backend."""
    async with AsyncExitStack() as stack:
        redis_urls = [await stack.enter_async_context(redis_server()) for _ in range(2)]
        model_url = await stack.enter_async_context(fake_endpoint())
        whole = await stack.enter_async_context(
            started(["-m", "backend"], redis_urls[0], model_url)
        )
        ways = (await stack.enter_async_context(layers(redis_urls[1], model_url))).all()
        warm_up = Load(1, 5, 1)
        await run(warm_up, whole.url, None, None)
        for answering in ways.values():
            await answering(warm_up.question(0))
        collect_seldom()
        skip_existing_objects()
        values: dict[str, list[float]] = {name: [] for name in [*ways, "sockets: the whole"]}
        for _ in range(runs):
            for name, answering in ways.items():
                values[name].append(await cpu_us(answering, load))
            figures, _ = await run(load, whole.url, whole.pid, None)
            assert figures.process
            values["sockets: the whole"].append(figures.process.cpu_s / load.all_tokens * 1e6)
        return values


def report(values: dict[str, list[float]]) -> None:
    """Print what each layer adds, and all up to it."""
    print(f"{'microseconds of CPU a token':<48}{'adds':>8}{'in all':>8}   spread")
    below = 0.0
    for name, all_values in values.items():
        median = statistics.median(all_values)
        spread = f"{min(all_values):.0f} to {max(all_values):.0f}"
        print(f"{name:<48}{median - below:>8.1f}{median:>8.1f}   {spread}")
        below = median


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.profile",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--interval-ms", type=float, default=20)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    raise_file_limit()
    load = Load(options.clients, options.tokens, options.interval_ms)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            report(runner.run(profile(load, options.runs)))
    except (DidNotStart, OSError) as exc:
        print(f"not measured: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
