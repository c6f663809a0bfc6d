"""One job in work: a question, from its queue entry to its END, or to being interrupted."""

import asyncio
import logging
import time
from contextlib import aclosing
from typing import Literal

from ..llm.base import Chain, Finish, Reasoning
from ..protocol.entries import Ending, entry_order
from ..protocol.errors import AppError, EmptyAnswer, Interrupted, ModelTimeout, origin
from ..runtime.background_tasks import cancel
from ..runtime.metrics import Metrics
from ..settings import Settings
from ..store.connection import insist
from ..store.work_queue import Job, WorkQueue
from .attempts import Attempt, Attempts
from .patience import Patience

logger = logging.getLogger(__name__)

TOO_LONG = "length"  # the finish reason of an answer that reached our limit, as providers call it

Interruption = Literal["stopped", "silent", "lost", "handed over"]


class JobRun:
    """One job in work; `interrupt` ends the model's part of it from outside."""

    def __init__(
        self,
        job: Job,
        *,
        settings: Settings,
        queue: WorkQueue,
        attempts: Attempts,
        chain: Chain,
        metrics: Metrics,
    ) -> None:
        self.job = job
        self.attempt: Attempt | None = None  # once it has begun
        self._settings = settings
        self._queue = queue
        self._attempts = attempts
        self._chain = chain
        self._metrics = metrics
        self._interrupted_by: Interruption | None = None
        self._generation: asyncio.Task[Finish] | None = None
        self._timeout = ModelTimeout()

    def interrupt(self, reason: Interruption) -> None:
        """End the model's part now. The first reason stands; asking again cancels again."""
        self._interrupted_by = self._interrupted_by or reason
        if self._generation:
            self._generation.cancel()

    async def work(self) -> None:
        """Answer the question, and take it off the queue if it is done with."""
        question_id = self.job.question_id
        try:
            self.attempt = await self._attempts.open(question_id, self.job.token)
            if self.attempt is None or await self._answer(self.attempt):
                await insist(lambda: self._queue.finish(self.job.entry_id))
        except Exception as exc:
            # The entry stays pending: the question is tried again after a
            # lease, as after a crash, and ends as interrupted if that is no help.
            logger.error("question %s: broken off by a fault of ours: %s", question_id, origin(exc))

    async def _answer(self, attempt: Attempt) -> bool:
        """Write one attempt; returns whether the question is done with."""
        if attempt.record.lapses >= self._settings.max_attempts:
            ending = Ending.failed(Interrupted())
            return await self._attempts.close(attempt, ending, keep_earlier=True)
        if attempt.record.stop or self._interrupted_by == "stopped":
            return await self._attempts.close(attempt, Ending("stopped"), keep_earlier=True)
        began = time.monotonic()
        self._count_waiting(attempt)
        try:
            ending_or_none = await self._generate(attempt)
        finally:
            self._count_first_text(attempt)
        if ending_or_none is None:
            return await self._give_up(attempt)
        if not await self._attempts.close(attempt, ending_or_none):
            # Too late, by a worker that was frozen: the queue entry is what the
            # newer attempt lives by, should its worker die as well.
            logger.warning("question %s: taken over before its end", attempt.question_id)
            return False
        self._metrics.answered(ending_or_none.status, time.monotonic() - began)
        return True

    def _count_waiting(self, attempt: Attempt) -> None:
        """Count how long the job was queued; its entry tells since when, by Redis's clock."""
        asked_ms, _ = entry_order(self.job.entry_id)
        if attempt.record.attempt == 1:
            self._metrics.started(asked_ms, attempt.draft.started_ms)

    def _count_first_text(self, attempt: Attempt) -> None:
        """Count how long the asker waited for text, if this attempt was the first to give any."""
        asked_ms, _ = entry_order(self.job.entry_id)
        if attempt.draft.first_text_ms and not attempt.earlier.last_words:
            self._metrics.first_piece(asked_ms, attempt.draft.first_text_ms)

    async def _give_up(self, attempt: Attempt) -> bool:
        """Leave the question to another worker, or to the one that has taken it over."""
        if self._interrupted_by == "lost":
            attempt.draft.abandon()
        else:
            await self._attempts.hand_over(attempt)
            await insist(lambda: self._queue.release(self.job.entry_id))
        number = attempt.record.attempt
        logger.info("question %s: attempt %d %s", attempt.question_id, number, self._interrupted_by)
        return False

    async def _generate(self, attempt: Attempt) -> Ending | None:
        """Let the model answer; None where it was cut short for another worker to go on.

        The model has a task of its own: to cancel it closes the connection to
        the provider and leaves this one free to write the END.
        """
        if self._interrupted_by:
            return self._interrupted()
        clock = asyncio.get_running_loop().time
        patience = Patience(self._settings, clock())
        generation = asyncio.create_task(self._write_pieces(attempt, patience))
        self._generation = generation
        try:
            while not generation.done() and not self._interrupted_by:
                # The deadline moves with every piece, by this at the most.
                left_s = min(patience.deadline - clock(), self._settings.model_idle_timeout_s)
                await asyncio.wait({generation}, timeout=max(0.0, left_s))
                if clock() >= patience.deadline and not generation.done():
                    self._timeout = patience.failure(clock())
                    self.interrupt("silent")
        finally:
            await cancel([generation])
            self._generation = None
        return self._interrupted() if self._interrupted_by else self._outcome(generation)

    def _interrupted(self) -> Ending | None:
        if self._interrupted_by == "silent":
            return Ending.failed(self._timeout)
        return Ending("stopped") if self._interrupted_by == "stopped" else None

    def _outcome(self, generation: asyncio.Task[Finish]) -> Ending:
        try:
            finish = generation.result()
        except AppError as exc:
            why = exc.detail or type(exc).__name__
            logger.warning("question %s: %s (%s)", self.job.question_id, exc.code, why)
            return Ending.failed(exc)
        self._metrics.tokens_used(finish.usage, finish.model)
        return Ending("done", None, finish.reason, finish.usage, finish.model)

    async def _write_pieces(self, attempt: Attempt, patience: Patience) -> Finish:
        """Write the model's pieces as they come; returns how it finished.

        One that does not come to an end is cut, as the model itself would at its limit;
        of endless thought the rest is left out, until time is up.
        Only the model's silence counts against it, not the time for which
        Redis keeps us waiting.
        """
        record, settings = attempt.record, self._settings
        clock = asyncio.get_running_loop().time
        room = settings.max_answer_chars
        room_to_think = room if settings.stream_reasoning else 0
        async with aclosing(self._chain.stream(record.topic, record.question)) as pieces:
            while True:
                piece = await anext(pieces, None)
                patience.pause(clock())
                if isinstance(piece, Reasoning):
                    if thought := piece.text[:room_to_think]:
                        room_to_think -= len(thought)
                        await attempt.draft.think(thought)
                elif isinstance(piece, str):
                    await attempt.draft.append(piece[:room])
                    room -= len(piece)
                    if room < 0:
                        self._metrics.limit_hit("max_answer_chars")
                        return Finish(TOO_LONG)
                    patience.speaks()
                elif room == settings.max_answer_chars:
                    raise EmptyAnswer(detail="no text")
                else:
                    return piece or Finish()
                patience.resume(clock())
