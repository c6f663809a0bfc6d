"""Who writes an answer, and how it is closed: attempts, takeovers, and the last word.

An attempt is opened by raising the attempt number in the question's record and
writing a START with it. From then on, whatever an older attempt still writes is
ignored by every reader; so what stood before that START is all that an earlier
attempt can have said, and if it had ended there, it has the last word.
"""

import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from ..protocol.entries import Ending
from ..protocol.errors import Expired
from ..protocol.record import Record
from ..protocol.transcript import Transcript
from ..runtime.metrics import Metrics
from ..store.answer_log import AnswerLog
from ..store.connection import Backoff, insist
from ..store.records import Records
from .draft import Draft
from .writer import AnswerWriter

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Attempt:
    """The right to write an answer, until a newer attempt begins.

    `earlier` is what older attempts have left in the stream; empty for the first.
    """

    record: Record
    draft: Draft
    start_id: str
    earlier: Transcript

    @property
    def question_id(self) -> str:
        """The question that is being answered."""
        return self.record.question_id


Transition = Callable[[Record], Record]


class Attempts:
    """Opens and closes attempts. Waits for Redis as long as an outage lasts."""

    def __init__(
        self,
        questions: Records,
        log: AnswerLog,
        writer: AnswerWriter,
        metrics: Metrics,
    ) -> None:
        self._questions = questions
        self._log = log
        self._writer = writer
        self._metrics = metrics

    async def open(self, question_id: str, job_token: str | None = None) -> Attempt | None:
        """Begin the next attempt at a question, for a job if its token is given.

        None where the question has ended, is not stored, has no stream to be
        answered in, or is answered for another job.
        """
        owner = uuid.uuid4().hex
        before: Record | None = None

        def begin(current: Record) -> Record:
            nonlocal before
            before = current
            return current.begun(owner, job_token)

        try:
            record = await insist(lambda: self._questions.change(question_id, begin))
        except Expired:
            return None
        if record.owner != owner:
            return None
        self._metrics.restarted(before or record, record)
        draft = self._writer.open(record.stream, question_id, record.attempt)
        try:
            start_id = await draft.start()
        except Expired:
            return None
        earlier = Transcript() if record.attempt == 1 else await self._earlier(record, start_id)
        if earlier.ending:
            draft.abandon()
            await self._settle(record, earlier.ending, earlier.start_id, earlier.last_id)
            return None
        return Attempt(record, draft, start_id, earlier)

    async def close(self, attempt: Attempt, ending: Ending, *, keep_earlier: bool = False) -> bool:
        """Write the END, and with `keep_earlier` before it what older attempts had said.

        On return the END stands in the stream. Returns whether the question
        has ended with it: it has not where a newer attempt has begun meanwhile.
        """
        if keep_earlier and attempt.earlier.last_reasoning:
            await attempt.draft.think(attempt.earlier.last_reasoning)
        if keep_earlier and attempt.earlier.last_words:
            await attempt.draft.append(attempt.earlier.last_words)
        end_id = await attempt.draft.end(ending)
        return await self._settle(attempt.record, ending, attempt.start_id, end_id)

    async def conclude(self, question_id: str, ending: Ending) -> Record:
        """End a question that nobody is answering, keeping what was said.

        Returns the record as it stands then; one that has ended already stays
        as it is. Raises Expired where there is none.
        """
        attempt = await self.open(question_id)
        if attempt:
            await self.close(attempt, ending, keep_earlier=True)
        backoff = Backoff()
        while not (record := await insist(lambda: self._questions.read(question_id))).ended:
            await backoff.wait()  # somebody else is about to conclude it
        return record

    async def hand_over(self, attempt: Attempt) -> None:
        """Mark the question for another worker to begin anew at once."""
        attempt.draft.abandon()
        owner = attempt.record.owner
        await self._change(attempt.record, lambda current: current.handed_over(owner))

    async def _settle(self, record: Record, ending: Ending, start_id: str, end_id: str) -> bool:
        owner = record.owner
        settled = await self._change(
            record, lambda current: current.closed(owner, ending, start_id, end_id)
        )
        if settled and settled.ended and settled.owner == owner:  # it was us who ended it
            self._metrics.ended(ending)
            _log_end(settled)
        return settled is None or settled.ended

    async def _change(self, record: Record, transition: Transition) -> Record | None:
        try:
            return await insist(lambda: self._questions.change(record.question_id, transition))
        except Expired:
            return None  # the record has expired or was flushed: there is nothing to say it to

    async def _earlier(self, record: Record, start_id: str) -> Transcript:
        try:
            return await insist(lambda: self._log.transcript(record, f"({start_id}"))
        except Expired:
            return Transcript()  # partly trimmed: no reader can show it any more


def _log_end(record: Record) -> None:
    """Log the one line that every question ends with, whoever has ended it."""
    asked_at_ms = record.asked_at_ms or record.ended_at_ms  # another program's record has none
    logger.info(
        "question %s %s%s: attempt %d, %.2f s after it was asked",
        record.question_id,
        record.status,
        f" ({record.error['code']})" if record.error else "",
        record.attempt,
        (record.ended_at_ms - asked_at_ms) / 1000,
    )
