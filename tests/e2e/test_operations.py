"""What operators see of real programs: metrics across processes, the dashboard, the log.

One server with two worker processes, and a worker elsewhere with a port of its own.
"""

import asyncio
import itertools
import json
import re
import signal
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # it ships no types
import pytest
import pytest_asyncio

from backend.runtime.metrics import PREFIX
from tests.fakes.client import Answer, Refused
from tests.fakes.programs import ROOT, Program, RedisServer, free_port
from tests.fakes.scrape import Scrape, scrape
from tests.faults.stack import SETTINGS, Stack, stack_of, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

DASHBOARD = ROOT / "backend" / "deploy" / "grafana" / "dashboard.json"
ENDLESS = "[[tokens=100000 interval_ms=10]]"
HALF = "[[tokens=60 interval_ms=5 fault=stall_after:20 times=1]]"  # whole from the second on


class Site:
    """The programs, and what they say about themselves."""

    def __init__(self, stack: Stack, server: Program, worker: Program, worker_port: int) -> None:
        self.stack = stack
        self.server = server
        self.worker = worker
        self._urls = (server.url, f"http://127.0.0.1:{worker_port}")

    async def scrape(self) -> Scrape:
        """What Prometheus would get from both of its targets."""
        return await scrape(*self._urls)

    async def shows(self, check: Callable[[Scrape], bool]) -> Scrape:
        """Scrape until this holds; returns that scrape."""
        seen: list[Scrape] = []

        async def holds() -> bool:
            seen[:] = [await self.scrape()]
            return check(seen[0])

        await until(holds)
        return seen[0]

    async def process_of(self, answer: Answer) -> psutil.Process:
        """The child of the server that has a question in work; others are asked to let it go."""
        pids: list[int] = []

        async def found() -> bool:
            pid = await self.stack._pid_with(answer.question_id)
            pids[:] = [int(pid)] if pid else []
            return bool(pid)

        await until(found)
        return psutil.Process(pids[0])

    async def asked_of_child(self) -> tuple[Answer, psutil.Process]:
        """An answer in work in one of the server's own worker processes."""
        person = await self.stack.person(self.server)
        children = {child.pid for child in self.stack.children(self.server)}
        for number in itertools.count():
            answer = await person.ask(f"Who has it now? {number} {uuid.uuid4()} {HALF}")
            process = await self.process_of(answer)
            if process.pid in children:
                await answer.received(5)
                return answer, process
            await person.stop(answer.question_id)
        raise AssertionError("unreachable")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(redis_of_stack: RedisServer) -> AsyncIterator[Site]:
    """The programs, with their log in JSON, all at work."""
    async with stack_of(redis_of_stack, LOG_FORMAT="json", LOG_LEVEL="debug") as stack:
        port = free_port()
        server, worker = await asyncio.gather(
            stack.start("--workers", "2"), stack.worker(WORKER_METRICS_PORT=str(port))
        )
        await server.ready()
        site = Site(stack, server, worker, port)
        await site.shows(lambda said: len(said.processes()) == 4)
        yield site
        stack.nothing_odd()


def difference(before: Scrape, after: Scrape) -> Callable[..., float]:
    """How much a metric has grown between two scrapes, as increase() counts it.

    A series that has become smaller is that of a new process, which began at 0.
    """

    def grown(name: str, **labels: str) -> float:
        earlier, later = before.series(name, **labels), after.series(name, **labels)
        pairs = [(value, earlier.get(key, 0)) for key, value in later.items()]
        return sum(now - then if now >= then else now for now, then in pairs)

    return grown


async def test_every_process_is_told_apart(site: Site) -> None:
    """The server's target holds its children, the worker elsewhere is a target of its own."""
    said = await site.shows(lambda said: all(said.processes().values()))
    assert said.processes().keys() == {"server", "worker-1", "worker-2", "worker"}


async def test_what_was_done_is_counted(site: Site) -> None:
    """Asking, stopping, failing, resuming and being refused each count once, whoever did it."""
    before = await site.scrape()
    person = await site.stack.person(site.server)
    done = await person.ask("Is it counted?")
    failed = await person.ask("Is it refused? [[fault=429]]")
    endless = await person.ask(f"Is it stopped? {ENDLESS}")
    await endless.received(3)
    running = await site.scrape()
    assert running.total("questions_running") >= 1
    assert running.total("sockets") >= 1
    assert running.total("readers") >= 1
    await person.stop(endless.question_id)
    for answer in (done, failed, endless):
        await answer.ended()
    await site.stack.settled(done)
    late = await site.stack.late_reader(done, site.server)
    await late.ended()
    with pytest.raises(Refused):
        await person.resume(str(uuid.uuid4()))

    def all_over(said: Scrape) -> bool:
        left = said.total("questions_running") + said.total("questions_queued")
        return difference(before, said)("questions_ended_total") > 2 and not left

    after = await site.shows(all_over)
    grown = difference(before, after)
    assert grown("questions_accepted_total", process="server") == 3
    assert grown("questions_ended_total", status="done") == 1
    assert grown("questions_ended_total", status="failed", code="rate_limited") == 1
    assert grown("questions_ended_total", status="stopped") == 1
    assert grown("questions_ended_total") == 3
    assert grown("resumes_total", status="done") == 1
    assert grown("refusals_total", request="resume", code="expired") == 1
    assert grown("refusals_total") == 1
    assert grown("first_piece_seconds_count") == 2  # the one that failed said nothing
    assert grown("queue_wait_seconds_count") == 3
    assert grown("answer_seconds_count") == 3
    assert grown("pieces_total") >= len(done.pieces) + len(endless.pieces)
    assert after.total("redis_errors_total") == 0
    assert after.total("redis_up") == 1


async def test_first_pieces_are_timed_from_the_question(site: Site) -> None:
    """The time to the first piece holds what the model took for it."""
    before = await site.scrape()
    person = await site.stack.person(site.server)
    answer = await person.ask("How long? [[first_delay_ms=300 tokens=3]]")
    await answer.ended()
    after = await site.shows(lambda said: bool(difference(before, said)("answer_seconds_count")))
    grown = difference(before, after)
    assert 0.3 <= grown("first_piece_seconds_sum") < 5
    assert grown("queue_wait_seconds_sum") < grown("first_piece_seconds_sum")
    assert grown("answer_seconds_sum") >= 0.3


async def test_a_killed_worker(site: Site) -> None:
    """A takeover is counted by who takes over; the dead process is replaced, from 0 on."""
    before = await site.shows(lambda said: all(said.processes().values()))
    answer, process = await site.asked_of_child()
    process.kill()
    await answer.begun_anew(2)
    await site.stack.whole(answer)
    after = await site.shows(
        lambda said: all(said.processes().values()) and len(said.processes()) == 4
    )
    grown = difference(before, after)
    assert grown("takeovers_total") == 1
    assert grown("handovers_total") == 0
    replaced = [
        _began(after, f"worker-{number}") > _began(before, f"worker-{number}") for number in (1, 2)
    ]
    assert sorted(replaced) == [False, True]


async def test_a_worker_that_is_told_to_end(site: Site) -> None:
    """A hand-over is counted, though who handed over is gone before anybody scrapes it."""
    before = await site.shows(lambda said: all(said.processes().values()))
    answer, process = await site.asked_of_child()
    process.send_signal(signal.SIGTERM)
    await answer.begun_anew(2)
    await site.stack.whole(answer)
    after = await site.shows(lambda said: all(said.processes().values()))
    grown = difference(before, after)
    assert (grown("handovers_total"), grown("takeovers_total")) == (1, 0)


async def test_the_dashboard_shows_what_there_is(site: Site) -> None:
    """Every metric and every label of the dashboard exists in a scrape."""
    said = await site.scrape()
    names = said.names | {
        f"{family.name}_total" for family in said.families if family.type == "counter"
    }
    labels = {
        name for family in said.families for sample in family.samples for name in sample.labels
    } | {"job", "instance", "kind", "limit"}  # Prometheus's own, and those of rare events
    queries = _queries(DASHBOARD)
    assert len(queries) > 20
    for query in queries:
        used = set(re.findall(rf"\b(?:{PREFIX}|process|python)_\w+", query))
        assert used, query
        assert used <= names, query
        grouped = [each for by in re.findall(r"by \(([^)]*)\)", query) for each in by.split(", ")]
        assert set(grouped) <= labels, query
        assert set(re.findall(r"(\w+)=", query)) <= labels, query


async def test_every_line_of_the_log_is_json(site: Site) -> None:
    """The end of a question is one line with its id as a field; nobody's words are in any."""
    person = await site.stack.person(site.server)
    answer = await person.ask("Who reads my words?")
    await answer.ended()
    done = f"question {answer.question_id} done"
    programs = [site.server, site.worker]

    async def logged() -> bool:
        return any(done in each.log for each in programs)

    await until(logged)
    lines = [_decoded(line) for each in programs for line in each.output]
    about = [line for line in lines if answer.question_id in line["message"]]
    assert [line["message"].split(":")[0] for line in about] == [done]
    assert all(line["questionId"] == answer.question_id for line in about)
    for line in lines:
        assert line.keys() >= {"time", "level", "logger", "pid", "message"}
        assert line["message"].startswith("question ") == ("questionId" in line)
    text = "".join(each.log for each in programs)
    for private in ("Who reads my words?", answer.pieces[0].strip(), SETTINGS["OPENAI_API_KEY"]):
        assert private not in text


def _began(said: Scrape, process: str) -> float:
    """When a process was started."""
    return sum(
        sample.value
        for family in said.families
        for sample in family.samples
        if sample.name == "process_start_time_seconds" and sample.labels["process"] == process
    )


def _queries(dashboard: Path) -> list[str]:
    """What the panels of a dashboard ask for."""
    panels = json.loads(dashboard.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def _decoded(line: str) -> dict[str, Any]:
    decoded = json.loads(line)
    assert isinstance(decoded, dict), line
    return decoded
