"""The benchmark's own arithmetic: a wrong figure is worse than none."""

import asyncio
import os
import time

import pytest

from tests.benchmarks.client import Answer
from tests.benchmarks.gauges import watch_process
from tests.benchmarks.load import Load, percentile
from tests.benchmarks.programs import Stack, fake_endpoint, started
from tests.benchmarks.speed.cases import Case, sample
from tests.benchmarks.speed.delay import piece_delays_ms
from tests.benchmarks.speed.report import Row, table
from tests.fakes.openai_endpoint import answer_pieces

SPINS = 200_000


def received(question: str, *texts: str) -> Answer:
    """An answer whose text came in these pieces, a second apart from each other."""
    answer, chars = Answer(question, len(texts)), 0
    for second, text in enumerate(texts, 1):
        chars += len(text)
        answer.arrivals.append((float(second), chars))
    return answer


def test_a_piece_is_there_with_its_last_character() -> None:
    """However pieces were joined or cut on their way, each is timed by its own end."""
    one, two, three = answer_pieces("why?", 3)
    answer = received("why?", one + two[:1], two[1:] + three[:-1], three[-1])
    assert piece_delays_ms(answer, [0.5, 0.75, 1.0]) == [500, 1_250, 2_000]


@pytest.mark.parametrize(("percent", "value"), [(50, 5), (99, 10), (99.9, 10), (1, 1)])
def test_a_percentile_is_one_of_the_values(percent: float, value: float) -> None:
    """It is the smallest one that so many of them do not exceed."""
    assert percentile(range(1, 11), percent) == value


def test_the_table_sets_figures_against_their_floor() -> None:
    """Each line has median, spread, target, the floor's median and the ratio to it."""
    row = Row("CPU", [3.0, 100.0, 200.0], "us", "185", floor=[50.0])
    assert table([row])[1].split() == "CPU 100 us 3 to 200 185 50 us 2.00".split()


async def test_cpu_time_is_told_exactly() -> None:
    """What a process has used is known to far less than a tick of the scheduler."""
    async with watch_process(os.getpid()) as cost:
        began = time.process_time_ns()
        sum(range(SPINS))
        used = (time.process_time_ns() - began) / 1e9
    assert used <= cost.first_cpu_s <= cost.cpu_s < used + 1  # other tests may have left children
    assert cost.first_cpu_s % 0.01


async def test_the_floor_keeps_the_contract() -> None:
    """The floor answers the load's clients, every byte and in time, and costs something."""
    async with asyncio.timeout(30), fake_endpoint() as model_url:
        arguments = ["-m", "tests.benchmarks.speed.floor"]
        async with started(arguments, "redis://unused", model_url) as backend:
            stack = Stack(backend.url, backend.pid, None, model_url)
            given = await sample(
                Case("floor", "floor", Load(3, 10, 1), timed=True), {"floor": stack}
            )
    assert given.pieces == 1
    assert given.tree_us > 0
    assert 0 < given.delay_p50_ms <= given.delay_p99_ms
