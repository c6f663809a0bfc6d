"""The answer in one piece, by POST."""

import asyncio
import json
import time
from dataclasses import replace
from typing import Any

import aiohttp

from ...protocol.errors import ErrorPayload
from ...protocol.requests import Ask
from ...runtime.background_tasks import cancel
from .address import BackendAddress
from .failures import own_error
from .outcome import Outcome, OutcomeStatus
from .reading import read_error
from .stopping import UNCONFIRMED, stop_question

PATH = "/askQuestionWithoutStream"
# They say that the question was not accepted; all others, that its answer failed.
REFUSING_STATUSES = (400, 401, 403, 413, 429)
REFUSING_CODES = ("busy", "storage_unavailable")  # with status 500, as in the Node original
MAX_REPLY_BYTES = 64 * 1024 * 1024  # far above any answer
REPLY_WITHIN_S = 2.0  # a POST ends by itself when its question is stopped


class Posting:
    """Asks by POST and waits: one question, once."""

    def __init__(self, backend: BackendAddress, ask: Ask) -> None:
        self._backend = backend
        self._ask = ask
        self._stop_requested = asyncio.Event()

    async def run(self, timeout_s: float) -> Outcome:
        """Ask, and wait for the answer, or for so long; how it failed, the outcome says."""
        posting = asyncio.create_task(post_question(self._backend, self._ask, timeout_s))
        stopping = asyncio.create_task(self._stop_requested.wait())
        try:
            await asyncio.wait({posting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if posting.done():
                return posting.result()
            return await self._stop(posting)
        finally:
            await cancel([posting, stopping])

    def stop(self) -> None:
        """Have the server end the answer; `run` returns soon, whether it does or not."""
        self._stop_requested.set()

    async def _stop(self, posting: asyncio.Task[Outcome]) -> Outcome:
        """Over a socket: HTTP knows no stopping. What was said until then is the answer."""
        confirmed = await stop_question(self._backend, self._ask.question_id)
        if confirmed:
            await asyncio.wait({posting}, timeout=REPLY_WITHIN_S)
        outcome = posting.result() if posting.done() else Outcome(self._ask.question_id, "stopped")
        return replace(outcome, status="stopped", error=None if confirmed else UNCONFIRMED)


async def post_question(backend: BackendAddress, ask: Ask, timeout_s: float) -> Outcome:
    """Ask, and wait for the whole answer, or for so long; how it failed, the outcome says."""
    began = time.monotonic()
    status: OutcomeStatus = "done"
    text, error = "", None
    try:
        http_status, body = await _post(backend, ask, timeout_s)
        output = body["output"] if isinstance(body.get("output"), str) else ""
        status, error = _judge(http_status, body, output)
        # Beside an error, it is a line about that, for pages that show nothing else.
        text = output if status == "done" else ""
    except TimeoutError:
        status, error = "timeout", own_error("timeout", "The answer took too long for us.")
    except (aiohttp.ClientError, OSError):
        message = f"No server answers at {backend.url}, or it broke off."
        status, error = "unreachable", own_error("unreachable", message)
    total_s = time.monotonic() - began
    return Outcome(ask.question_id, status, text, error, total_s=total_s)


async def _post(backend: BackendAddress, ask: Ask, timeout_s: float) -> tuple[int, dict[str, Any]]:
    body = {"topic": ask.topic, "topicQuestion": ask.question, "questionId": ask.question_id}
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout_s)) as http,
        http.post(f"{backend.url}{PATH}", json=body, headers=backend.headers) as response,
    ):
        raw = bytearray()
        async for piece in response.content.iter_any():
            raw += piece
            if len(raw) > MAX_REPLY_BYTES:
                return response.status, {}
        try:
            reply = json.loads(raw)
        except (ValueError, RecursionError):
            reply = None
        return response.status, reply if isinstance(reply, dict) else {}


def _judge(
    http_status: int, body: dict[str, Any], text: str
) -> tuple[OutcomeStatus, ErrorPayload | None]:
    """What a reply means, that of a proxy included."""
    if error := read_error(body.get("error")):
        refused = http_status in REFUSING_STATUSES or error["code"] in REFUSING_CODES
        return ("refused" if refused else "failed"), error
    if http_status != 200:
        message = f"The server answered {http_status}, and not as a backend does."
        return "unreachable", own_error("unreachable", message)
    if not text:
        return "failed", own_error("empty", "The server sent an empty answer.")
    return "done", None
