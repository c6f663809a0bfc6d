"""What a client has received: what it acknowledges, or else what is written."""

import asyncio
from collections.abc import Callable

import pytest

from backend.server.consumer_groups.socket_acks import MAX_UNACKNOWLEDGED, SocketAcks

Ack = Callable[..., None]


class Outbox:
    """A socket of which a test says whether everything is written."""

    def __init__(self) -> None:
        self.written = True
        self.received: list[int] = []
        self.acks = SocketAcks(lambda: self.written)

    def send(self, number: int, *, is_last: bool = False) -> Ack | None:
        """Send something; returns what its acknowledgement calls, if one is asked for."""
        return self.acks.add(lambda: self.received.append(number), is_last=is_last)


@pytest.fixture
async def outbox() -> Outbox:
    """A socket that nothing was sent to; timers need a running loop."""
    return Outbox()


@pytest.fixture
def short_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The timeout for a first acknowledgement ends in the next turn of the loop."""
    monkeypatch.setattr("backend.server.consumer_groups.socket_acks.ACK_TIMEOUT_S", 0)


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
    last = outbox.send(2, is_last=True)
    acknowledge(first)
    assert outbox.received == [1]
    acknowledge(last)
    assert outbox.received == [1, 2]


async def test_acknowledgements_may_come_in_any_order(outbox: Outbox) -> None:
    """A later one covers an earlier one, which then says nothing new."""
    first, last = outbox.send(1), outbox.send(2, is_last=True)
    acknowledge(last)
    acknowledge(first)
    assert outbox.received == [1, 2]


@pytest.mark.usefixtures("short_timeout")
async def test_a_client_that_never_answers_has_what_is_written(outbox: Outbox) -> None:
    """After a while of silence, written counts as received, from the first entry on."""
    outbox.send(1)
    outbox.send(2)
    assert outbox.received == []
    await turns()
    assert outbox.received == [1, 2]
    assert outbox.send(3, is_last=True) is None
    outbox.acks.check_written()
    assert outbox.received == [1, 2, 3]


@pytest.mark.usefixtures("short_timeout")
async def test_what_is_not_written_is_not_received(outbox: Outbox) -> None:
    """A client that is silent and does not read either has received nothing."""
    outbox.written = False
    outbox.send(1)
    await turns()
    assert outbox.received == []
    outbox.written = True
    outbox.acks.check_written()
    assert outbox.received == [1]


@pytest.mark.usefixtures("short_timeout")
async def test_a_late_answer_is_believed(outbox: Outbox) -> None:
    """A client that answers after all is waited for from then on."""
    late = outbox.send(1)
    await turns()
    acknowledge(late)
    ack = outbox.send(2)
    outbox.acks.check_written()
    assert outbox.received == [1]
    acknowledge(ack)
    assert outbox.received == [1, 2]


@pytest.mark.usefixtures("short_timeout")
async def test_one_that_has_answered_is_never_given_up(outbox: Outbox) -> None:
    """A tab that is frozen now, and has acknowledged before, has received nothing since."""
    acknowledge(outbox.send(1))
    outbox.send(2)
    await turns()
    outbox.acks.check_written()
    assert outbox.received == [1]


@pytest.mark.usefixtures("short_timeout")
async def test_a_socket_that_has_gone_receives_nothing_more(outbox: Outbox) -> None:
    """Neither the timeout nor a late acknowledgement makes it received."""
    late = outbox.send(1)
    outbox.acks.close()
    await turns()
    acknowledge(late)
    outbox.acks.check_written()
    assert outbox.received == []


async def test_what_is_unacknowledged_is_bounded(outbox: Outbox) -> None:
    """For a client that reads and stops answering, the oldest entries stay pending."""
    for number in range(MAX_UNACKNOWLEDGED + 5):
        ack = outbox.send(number, is_last=True)
    acknowledge(ack)
    assert outbox.received == list(range(5, MAX_UNACKNOWLEDGED + 5))
