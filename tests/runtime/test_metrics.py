"""What is counted, under which names, and that it is counted once."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest

from backend.protocol.entries import Ending, Usage
from backend.protocol.errors import Busy, ModelTimeout
from backend.protocol.record import Record
from backend.runtime.metrics import MAX_MODELS, PREFIX, Metrics
from backend.store.connection import Storage
from backend.worker.attempts import Attempt
from tests.fakes.rig import DONE, PATIENCE_S, Rig, new_ask
from tests.fakes.scrape import counted

pytestmark = pytest.mark.usefixtures("shared_redis")  # it has to start outside of an event loop

BASE_UNITS = ("_seconds", "_bytes")
OTHER_UNITS = re.compile(r"_(ms|milliseconds|minutes|hours|kb|mb|percent)(_|$)")
MOST_SERIES = 400  # of one process; a label with ids in it would go past this


@pytest.fixture
async def rig(storage: Storage) -> AsyncIterator[Rig]:
    """All parts at work on an empty Redis."""
    async with Rig(storage).running() as rig:
        yield rig


@pytest.fixture
def metrics() -> Metrics:
    """The metrics of a server."""
    metrics = Metrics()
    metrics.serve()
    return metrics


async def begin(rig: Rig, record: Record) -> Attempt:
    """Open an attempt that there has to be."""
    attempt = await rig.attempts.open(record.question_id)
    assert attempt
    return attempt


# Names


def test_names_follow_the_rules(metrics: Metrics) -> None:
    """Our metrics have our prefix, counters their suffix, and times are in seconds."""
    for family in metrics.registry.collect():
        assert family.documentation
        if family.name.startswith(("process_", "python_")):
            continue
        assert re.fullmatch(rf"{PREFIX}(_[a-z]+)+", family.name), family.name
        assert not OTHER_UNITS.search(family.name), family.name
        assert not family.name.endswith(("_total", "_count", "_sum", "_bucket")), family.name
        if family.type == "histogram":
            assert family.name.endswith(BASE_UNITS), family.name


def test_labels_are_few_and_none_is_a_person(metrics: Metrics) -> None:
    """No label tells who asked or what; the series of a process stay few."""
    samples = [sample for family in metrics.registry.collect() for sample in family.samples]
    labels = {name for sample in samples for name in sample.labels}
    ours = {"status", "code", "request", "limit", "kind", "version", "python_version"}
    assert labels <= ours | {"le", "generation", "implementation"}
    assert len(samples) < MOST_SERIES


def test_what_may_happen_is_shown_before_it_does(metrics: Metrics) -> None:
    """A series that appears with its first increase would hide that increase from rate()."""
    samples = [sample for family in metrics.registry.collect() for sample in family.samples]
    shown = {
        (sample.name.removeprefix(f"{PREFIX}_"), *sample.labels.values()) for sample in samples
    }
    assert ("questions_ended_total", "failed", "model_timeout") in shown
    assert ("refusals_total", "ask", "busy") in shown
    assert ("resumes_total", "done") in shown


def test_processes_count_apart(metrics: Metrics) -> None:
    """Two applications in one process have nothing in common."""
    other = Metrics()
    metrics.refused("ask", Busy())
    metrics.limit_hit("questions_per_user")
    assert counted(metrics, "refusals_total", request="ask", code="busy") == 1
    assert counted(metrics, "limits_hit_total", limit="questions_per_user") == 1
    assert counted(other, "refusals_total") == counted(other, "limits_hit_total") == 0


def test_times_are_never_negative(metrics: Metrics) -> None:
    """A clock of Redis that was set back does not make an answer faster than at once."""
    metrics.first_piece(2_000, 1_000)
    metrics.first_piece(1_000, 1_250)
    metrics.started(2_000, 1_000)
    assert counted(metrics, "first_piece_seconds_sum") == 0.25
    assert counted(metrics, "first_piece_seconds_count") == 2
    assert counted(metrics, "queue_wait_seconds_sum") == 0


def test_tokens_are_counted_where_they_are_told(metrics: Metrics) -> None:
    """A provider that reports no usage leaves no series, which would look like an answer."""
    metrics.tokens_used(None, "m")
    metrics.tokens_used(Usage(), "m")
    names = [
        sample.name
        for family in metrics.registry.collect()
        for sample in family.samples
        if "tokens" in sample.name
    ]
    assert names == []
    metrics.tokens_used(Usage(3, 20, 0), "m")
    metrics.tokens_used(Usage(None, 5), "m")
    assert counted(metrics, "model_tokens_total", kind="input", model="m") == 3
    assert counted(metrics, "model_tokens_total", kind="output", model="m") == 25
    assert counted(metrics, "model_tokens_total", kind="reasoning", model="m") == 0


def test_a_provider_that_makes_up_names_gets_no_series_for_each(metrics: Metrics) -> None:
    """Some models are told apart; beyond that they are counted together."""
    for number in range(2 * MAX_MODELS):
        metrics.tokens_used(Usage(1, 1), f"m{number}")
    assert counted(metrics, "model_tokens_total", kind="input", model="m0") == 1
    assert counted(metrics, "model_tokens_total", kind="input", model="other") == MAX_MODELS


# What happens


async def test_a_question_is_accepted_once(rig: Rig) -> None:
    """The same question again is not one more."""
    ask = new_ask()
    await rig.answers.ask(ask)
    await rig.answers.ask(ask)
    assert counted(rig.metrics, "questions_accepted_total") == 1


async def test_an_end_is_counted_by_its_error(rig: Rig) -> None:
    """A question that failed counts under its error's code."""
    attempt = await begin(rig, await rig.ask())
    await rig.attempts.close(attempt, Ending.failed(ModelTimeout()))
    labels = {"status": "failed", "code": "model_timeout"}
    assert counted(rig.metrics, "questions_ended_total", **labels) == 1
    assert counted(rig.metrics, "questions_ended_total") == 1


async def test_an_end_that_came_too_late_does_not_count(rig: Rig) -> None:
    """A worker that was replaced ends nothing; the one that took over counts once."""
    record = await rig.ask()
    late = await begin(rig, record)
    attempt = await begin(rig, record)
    assert not await rig.attempts.close(late, DONE)
    assert counted(rig.metrics, "questions_ended_total") == 0
    await rig.attempts.close(attempt, DONE)
    assert counted(rig.metrics, "questions_ended_total", status="done") == 1
    assert counted(rig.metrics, "takeovers_total") == 1


async def test_an_end_without_a_record_is_counted_by_the_next(rig: Rig) -> None:
    """A worker that died between its END and the record leaves the counting to its successor."""
    record = await rig.ask()
    attempt = await begin(rig, record)
    await attempt.draft.end(DONE)
    assert await rig.attempts.open(record.question_id) is None
    assert counted(rig.metrics, "questions_ended_total", status="done") == 1


async def test_a_handover_is_no_takeover(rig: Rig) -> None:
    """What a worker gives up in good order is counted apart from what a dead one leaves."""
    record = await rig.ask()
    await rig.attempts.hand_over(await begin(rig, record))
    await begin(rig, record)
    assert counted(rig.metrics, "handovers_total") == 1
    assert counted(rig.metrics, "takeovers_total") == 0


async def test_pieces_are_counted_one_by_one(rig: Rig) -> None:
    """Pieces that share an entry are as many as they were."""
    attempt = await begin(rig, await rig.ask())
    for piece in ("one ", "two ", "three "):
        await attempt.draft.append(piece)
    await rig.attempts.close(attempt, DONE)
    assert counted(rig.metrics, "pieces_total") == 3
    assert counted(rig.metrics, "entries_written_total") == len(await rig.stored())


async def test_the_first_piece_has_its_time(rig: Rig) -> None:
    """What is measured is Redis's time of the first piece, and of no other."""
    attempt = await begin(rig, await rig.ask())
    await attempt.draft.append("one")
    async with asyncio.timeout(PATIENCE_S):
        while not attempt.draft.first_text_ms:
            await rig.raw.ping()  # a round trip: the writer gets its turn meanwhile
    await attempt.draft.append("two")
    await rig.attempts.close(attempt, DONE)
    pieces = [entry for entry in await rig.stored() if entry.is_piece]
    assert len(pieces) == 2
    assert attempt.draft.first_text_ms == int(pieces[0].id.split("-")[0])


async def test_an_answer_without_a_piece_has_no_first_one(rig: Rig) -> None:
    """An END right behind the START is not taken for a piece."""
    attempt = await begin(rig, await rig.ask())
    await rig.attempts.close(attempt, DONE)
    assert attempt.draft.first_text_ms == 0


async def test_the_tail_tells_when_it_read_last(rig: Rig) -> None:
    """The age begins anew with every answer of Redis."""
    await rig.tail_caught_up()
    assert 0 < counted(rig.metrics, "tail_read_age_seconds") < 2
