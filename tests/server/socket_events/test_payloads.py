"""Every event is acknowledged, whatever comes in place of a payload."""

from typing import Any

import pytest

from tests.fakes.told_backend import Client

EVENTS = ["askQuestion", "resumeQuestion", "stopQuestion"]

BAD_PAYLOADS: list[Any] = [
    None,
    5,
    True,
    "text",
    [],
    ["Redis", "What?"],
    {},
    {"questionId": 5},
    {"questionId": "1"},
    {"questionId": None},
    {"topic": "Redis"},
    {"topic": {}, "topicQuestion": []},
]


@pytest.mark.parametrize("payload", BAD_PAYLOADS, ids=repr)
@pytest.mark.parametrize("event", EVENTS)
async def test_nonsense_is_acknowledged(client: Client, event: str, payload: Any) -> None:
    """Whatever comes in place of a payload is refused in the acknowledgement, in words."""
    ack = await client.call(event, payload)
    assert ack["ok"] is False
    assert ack["error"]["code"] == "invalid_request"
    assert ack["error"]["retryable"] is False
    assert ack["error"]["message"].endswith(".")


@pytest.mark.parametrize("event", EVENTS)
async def test_bytes_are_acknowledged(client: Client, event: str) -> None:
    """A binary payload is no object; it is refused like any other nonsense."""
    ack = await client.acknowledged(await client.send_bytes(event, b'{"topic": "Redis"}'))
    assert (ack["ok"], ack["error"]["code"]) == (False, "invalid_request")


@pytest.mark.parametrize("event", EVENTS)
async def test_an_event_without_arguments_is_acknowledged(client: Client, event: str) -> None:
    """No payload at all is refused, too."""
    ack = await client.call(event)
    assert (ack["ok"], ack["error"]["code"]) == (False, "invalid_request")
