"""Stopping a question that somebody else may be reading."""

import asyncio

from ...protocol.errors import ErrorPayload
from .address import BackendAddress
from .connection import Connection, connected
from .failures import Refused, Unreachable, own_error
from .inbox import Lost, Reply

STOP_WITHIN_S = 10.0  # the backend ends an answer within two, a dead worker included

UNCONFIRMED: ErrorPayload = own_error(
    "unconfirmed", "The server has not confirmed the stop: the answer may go on."
)


async def stop_question(backend: BackendAddress, question_id: str) -> bool:
    """Have the server end an answer; returns whether it says, in time, that it has."""
    try:
        async with asyncio.timeout(STOP_WITHIN_S), connected(backend) as connection:
            await connection.send("stopQuestion", {"questionId": question_id})
            return await _is_confirmed(connection)
    except (TimeoutError, Refused, Unreachable):
        return False


async def _is_confirmed(connection: Connection) -> bool:
    while True:
        match await connection.inbox.get():
            case Reply(_, dict() as reply):
                return reply.get("ok") is True
            case Lost():
                return False
