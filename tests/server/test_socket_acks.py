"""What a client has received: by its word, or by what is written."""

import asyncio
from collections.abc import Callable

import pytest

from backend.server.socket_acks import MOST_NOTED, Receipts

Ack = Callable[..., None]


class Outbox:
    """A socket of which a test says whether everything is written."""

    def __init__(self) -> None:
        self.written = True
        self.received: list[int] = []
        self.receipts = Receipts(lambda: self.written)

    def send(self, number: int, *, at_once: bool = False) -> Ack | None:
        """Send something; returns what its acknowledgement calls, if one is asked for."""
        return self.receipts.note(lambda: self.received.append(number), at_once=at_once)


@pytest.fixture
async def outbox() -> Outbox:
    """A socket that nothing was sent to; timers need a running loop."""
    return Outbox()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience ends in the next turn of the loop."""
    monkeypatch.setattr("backend.server.socket_acks.PATIENCE_S", 0)


async def turns() -> None:
    """Let timers that are due go off."""
    for _ in range(3):
        await asyncio.sleep(0)


def acknowledge(ack: Ack | None) -> None:
    """Let the client answer."""
    assert ack
    ack()


async def test_an_acknowledgement_stands_for_all_before_it(outbox: Outbox) -> None:
    """One is asked for at a time; it covers what was sent until it was asked for."""
    first = outbox.send(1)
    assert [outbox.send(2), outbox.send(3)] == [None, None]
    assert outbox.received == []
    acknowledge(first)
    assert outbox.received == [1]
    acknowledge(outbox.send(4))
    assert outbox.received == [1, 2, 3, 4]


async def test_an_end_is_always_asked_for(outbox: Outbox) -> None:
    """What nothing follows has an acknowledgement of its own."""
    first = outbox.send(1)
    last = outbox.send(2, at_once=True)
    acknowledge(first)
    assert outbox.received == [1]
    acknowledge(last)
    assert outbox.received == [1, 2]


async def test_acknowledgements_may_come_in_any_order(outbox: Outbox) -> None:
    """A later one covers an earlier one, which then says nothing new."""
    first, last = outbox.send(1), outbox.send(2, at_once=True)
    acknowledge(last)
    acknowledge(first)
    assert outbox.received == [1, 2]


@pytest.mark.usefixtures("hasty")
async def test_a_client_that_never_answers_has_what_is_written(outbox: Outbox) -> None:
    """After a while of silence, written counts as received, from the first entry on."""
    outbox.send(1)
    outbox.send(2)
    assert outbox.received == []
    await turns()
    assert outbox.received == [1, 2]
    assert outbox.send(3, at_once=True) is None
    outbox.receipts.look()
    assert outbox.received == [1, 2, 3]


@pytest.mark.usefixtures("hasty")
async def test_what_is_not_written_is_not_received(outbox: Outbox) -> None:
    """A client that is silent and does not read either has received nothing."""
    outbox.written = False
    outbox.send(1)
    await turns()
    assert outbox.received == []
    outbox.written = True
    outbox.receipts.look()
    assert outbox.received == [1]


@pytest.mark.usefixtures("hasty")
async def test_a_late_answer_is_believed(outbox: Outbox) -> None:
    """A client that answers after all is waited for from then on."""
    late = outbox.send(1)
    await turns()
    acknowledge(late)
    ack = outbox.send(2)
    outbox.receipts.look()
    assert outbox.received == [1]
    acknowledge(ack)
    assert outbox.received == [1, 2]


@pytest.mark.usefixtures("hasty")
async def test_one_that_has_answered_is_never_given_up(outbox: Outbox) -> None:
    """A tab that is frozen now, and has acknowledged before, has received nothing since."""
    acknowledge(outbox.send(1))
    outbox.send(2)
    await turns()
    outbox.receipts.look()
    assert outbox.received == [1]


@pytest.mark.usefixtures("hasty")
async def test_a_socket_that_has_gone_receives_nothing_more(outbox: Outbox) -> None:
    """Neither patience nor a belated answer makes it received."""
    late = outbox.send(1)
    outbox.receipts.close()
    await turns()
    acknowledge(late)
    outbox.receipts.look()
    assert outbox.received == []


async def test_what_is_noted_is_bounded(outbox: Outbox) -> None:
    """For a client that reads and stops answering, the oldest entries stay pending."""
    for number in range(MOST_NOTED + 5):
        ack = outbox.send(number, at_once=True)
    acknowledge(ack)
    assert outbox.received == list(range(5, MOST_NOTED + 5))
