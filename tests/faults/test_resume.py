"""Resuming: any server, any tab, any moment, any entry gives the same bytes as having stayed."""

import asyncio
import uuid

import pytest
import pytest_asyncio

from tests.fakes.client import Refused
from tests.faults.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="module")

CROWD = 300
RUNNING = 20
LONGEST_GAP_S = 3.0  # between two pieces, while a crowd comes back on a machine with two cores


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def programs(stack: Stack) -> None:
    """Two servers and a worker."""
    await stack.have(servers=2, workers=1)


async def test_on_another_server_in_the_middle(stack: Stack) -> None:
    """Who leaves one server in mid-answer goes on at another, behind the last piece."""
    one, other = stack.servers
    person = await stack.person(one)
    answer = await person.ask("Who moves? [[interval_ms=20]]")
    await answer.received(10)
    moved = await stack.person(other)
    rest = await moved.resume_behind(answer, 8)
    await stack.whole(answer, rest)
    assert rest.metas == answer.metas


async def test_on_another_server_after_the_end(stack: Stack) -> None:
    """A finished answer is read whole on a server that has never heard of it."""
    one, other = stack.servers
    answer = await (await stack.person(one)).ask("Who comes late?")
    await stack.whole(answer)
    late = await stack.late_reader(answer, other)
    await stack.whole(late)
    assert late.metas == answer.metas


async def test_five_tabs(stack: Stack) -> None:
    """Tabs that join one after the other on both servers all get every piece once."""
    answer = await (await stack.person()).ask("Who else reads this? [[interval_ms=15]]")
    tabs = []
    for number in range(5):
        await answer.received(10 * number)
        tabs.append(await stack.late_reader(answer, stack.servers[number % 2]))
    await stack.whole(answer, *tabs)
    assert all(tab.metas == answer.metas for tab in tabs)


async def test_behind_every_entry_of_a_finished_answer(stack: Stack) -> None:
    """Behind each of its entries the rest of an answer follows, and nothing behind the last."""
    answer = await (await stack.person()).ask("What follows? [[tokens=60]]")
    await stack.whole(answer)
    tabs = [await stack.person(stack.servers[n % 2]) for n in range(len(answer.metas))]
    rests = await asyncio.gather(
        *(tab.resume_behind(answer, n) for n, tab in enumerate(tabs, start=1))
    )
    await stack.whole(*rests)
    assert all(rest.metas == answer.metas for rest in rests)


async def test_behind_every_entry_of_a_running_answer(stack: Stack) -> None:
    """Who comes back right behind each entry, while the next is on its way, misses nothing."""
    answer = await (await stack.person()).ask("What comes next? [[interval_ms=30 tokens=60]]")
    rests = []
    for count in range(1, 50):
        await answer.read_or_ended(count)
        if not answer.open:
            break  # fewer and longer pieces came, as a busy machine makes them
        tab = await stack.person(stack.servers[count % 2])
        rests.append(await tab.resume_behind(answer, count))
    await stack.whole(answer, *rests)
    assert all(rest.metas == answer.metas for rest in rests)


async def test_behind_an_entry_of_somebody_else(stack: Stack) -> None:
    """A cursor that is another question's entry counts for its place, and shows none of that."""
    asker, other = await stack.person(), await stack.person()
    answer = await asker.ask("Whose entry is it? [[interval_ms=10]]")
    await answer.received(20)
    between = await other.ask("Not yours, is it? [[interval_ms=10]]")
    await stack.whole(answer, between)
    cursor = between.metas[len(between.metas) // 2]["id"]
    seen = [meta for meta in answer.metas if _order(meta["id"]) <= _order(cursor)]
    rest = await (await stack.person()).resume_behind(answer, len(seen), after=cursor)
    await stack.whole(rest)


async def test_an_unknown_id_is_told_apart(stack: Stack) -> None:
    """Resuming what nobody has asked is refused as expired; nonsense as invalid."""
    person = await stack.person()
    with pytest.raises(Refused) as unknown:
        await person.resume(str(uuid.uuid4()))
    assert unknown.value.error["code"] == "expired"
    assert unknown.value.error["retryable"] is False
    with pytest.raises(Refused) as nonsense:
        await person.resume("no id at all")
    assert nonsense.value.code == "invalid_request"


async def test_a_crowd_comes_back(stack: Stack) -> None:
    """Three hundred people whose server dies all resume, while others hardly wait."""
    dying, staying = stack.servers
    reading = await asyncio.gather(*(stack.person(dying, staying) for _ in range(CROWD)))
    first = await asyncio.gather(
        *(person.ask(f"Who reads {n}? [[interval_ms=100 tokens=60]]")
          for n, person in enumerate(reading[:30]))
    )  # fmt: skip
    followed = [
        await person.resume(first[n % 30].question_id, question=first[n % 30].question)
        for n, person in enumerate(reading[30:])
    ]
    others = [await stack.person(staying) for _ in range(RUNNING)]
    running = [
        await person.ask(f"Who goes on {n}? [[interval_ms=100 tokens=60]]")
        for n, person in enumerate(others)
    ]
    await asyncio.gather(*(answer.received(3) for answer in running))
    await stack.kill(dying)
    await asyncio.gather(*(person.connected(2) for person in reading))
    await stack.whole(*first, *followed, *running)
    gap_s = max(answer.largest_gap_s for answer in running)
    print(f"\n{CROWD} resumed; largest gap of {RUNNING} running answers: {gap_s:.2f} s")  # noqa: T201
    assert gap_s < LONGEST_GAP_S


def _order(entry_id: str) -> tuple[int, int]:
    ms, _, sequence = entry_id.partition("-")
    return int(ms), int(sequence)
