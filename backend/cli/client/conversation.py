"""One question, over as many connections as it takes."""

import asyncio
import time

from ...protocol.entries import Ending
from ...protocol.errors import ErrorPayload
from ...protocol.requests import Ask
from .address import BackendAddress
from .connection import Connection, connected
from .exchange import Exchange, Progress, Setback, Silent, Stopped, StopUnheard
from .failures import Refused, Unreachable, own_error
from .inbox import StopRequested
from .outcome import Outcome, OutcomeStatus, View
from .reading import Reading
from .stopping import STOP_WITHIN_S, UNCONFIRMED

RECONNECT_WITHIN_S = 60.0  # a server that is away for longer is not coming back soon
PAUSES_S = (0.2, 0.5, 1.0, 2.0, 4.0)  # between two connections; the last one again and again


class Conversation:
    """Asks, follows, resumes, stops: one question, once."""

    def __init__(self, backend: BackendAddress, ask: Ask, view: View) -> None:
        self._backend = backend
        self._view = view
        self._reading = Reading(ask.question_id)
        self._progress = Progress(ask, self._reading)
        self._connection: Connection | None = None
        self._deadline: asyncio.Timeout | None = None

    async def run(self, timeout_s: float) -> Outcome:
        """Ask, and follow the answer to its end, or for so long; how it failed, the outcome says.

        Cancelled, it leaves the question as it is: the server goes on answering.
        """
        began = time.monotonic()
        status: OutcomeStatus
        error: ErrorPayload | None
        try:
            async with asyncio.timeout(timeout_s) as self._deadline:
                status, error = await self._converse()
        except TimeoutError:
            status, error = self._out_of_time()
        first = self._reading.first_piece_at
        ending = self._reading.ending
        return Outcome(
            question_id=self._reading.question_id,
            status=status,
            text=self._reading.text,
            error=error,
            finish_reason=ending.finish_reason if ending else None,
            attempt=self._reading.attempt,
            first_piece_s=first - began if first else None,
            total_s=time.monotonic() - began,
            reasoning=self._reading.reasoning,
            usage=ending.usage if ending else None,
            model=ending.model if ending else None,
        )

    def stop(self) -> None:
        """Have the server end the answer; `run` returns soon, whether it does or not."""
        if self._progress.stop_requested or self._deadline is None or self._deadline.expired():
            return
        self._progress.stop_requested = True
        now = asyncio.get_running_loop().time()
        patience_s = STOP_WITHIN_S if self._progress.times_asked else 0.0
        self._deadline.reschedule(min(now + patience_s, self._deadline.when() or now))
        if self._connection:
            self._connection.inbox.put(StopRequested())

    async def _converse(self) -> tuple[OutcomeStatus, ErrorPayload | None]:
        try:
            ending = await self._follow()
        except Refused as exc:
            return "refused", exc.error
        except (Unreachable, Silent) as exc:
            message = f"{exc}."
            return "unreachable", own_error("unreachable", message)
        except Stopped:
            return "stopped", None
        except StopUnheard:
            return "stopped", UNCONFIRMED
        return ending.status, ending.error

    async def _follow(self) -> Ending:
        """Read on over one connection after the other until the END has come."""
        patience = _Patience(self._view)
        while True:
            entries = self._progress.entries
            exchange = None
            try:
                async with connected(self._backend) as self._connection:
                    exchange = Exchange(self._connection, self._progress, self._view)
                    return await exchange.run()
            except Refused as exc:
                if exchange or not self._progress.times_asked or not exc.error["retryable"]:
                    raise
                await patience.wait(Setback(f"The server refuses for now ({exc.error['code']})"))
            except (Setback, Unreachable) as exc:
                self._connection = None
                if not self._progress.times_asked:
                    raise
                if exchange and exchange.heard:
                    patience.renew(progressed=self._progress.entries > entries)
                await patience.wait(exc)

    def _out_of_time(self) -> tuple[OutcomeStatus, ErrorPayload | None]:
        if not self._progress.stop_requested:
            return "timeout", own_error("timeout", "The answer took too long for us; it goes on.")
        return "stopped", UNCONFIRMED if self._progress.times_asked else None


class _Patience:
    """How long, and how often, the client reconnects."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._lost_at: float | None = None
        self._turn = 0

    def renew(self, *, progressed: bool) -> None:
        """Start over: the server was there. Only progress shortens the pauses again."""
        self._lost_at = None
        if progressed:
            self._turn = 0

    async def wait(self, exc: Exception) -> None:
        """Wait before the next try; raises Unreachable where there were enough of them."""
        now = time.monotonic()
        if self._lost_at is None:
            self._lost_at = now
            self._view.note(f"{exc}; trying to go on")
        if now - self._lost_at > RECONNECT_WITHIN_S:
            raise Unreachable(str(exc)) from exc
        pause_s = PAUSES_S[min(self._turn, len(PAUSES_S) - 1)]
        self._turn += 1
        await asyncio.sleep(pause_s)
