"""Stop signals, carried from any server to the worker that has the question.

That a question is to be stopped is written in its record; this stream makes it fast.
"""

from collections.abc import AsyncIterator

from .connection import BLOCK_MS, STORAGE_ERRORS, Backoff, Storage

STOP_STREAM = "OPENAI_STOPS"
SIGNALS_KEPT = 1_000  # a signal is acted on within a second, or found in the record
SIGNALS_PER_READ = 100


class StopSignals:
    """The stream of stop signals."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def send(self, question_id: str) -> None:
        """Tell every worker that this question is to be stopped."""
        await self._storage.pipelining.send(
            "XADD", STOP_STREAM, "MAXLEN", "~", SIGNALS_KEPT, "*", "questionId", question_id
        )

    async def listen(self) -> AsyncIterator[str]:
        """Give the ids of questions to stop as they come in; never ends by itself."""
        cursor = "$"  # what is missed between two reads is found in the records
        backoff = Backoff()
        while True:
            try:
                reply = await self._storage.blocking.xread(
                    {STOP_STREAM: cursor}, count=SIGNALS_PER_READ, block=BLOCK_MS
                )
            except STORAGE_ERRORS as exc:
                backoff.log(exc)
                await backoff.wait()
                cursor = "$"  # Redis may have lost the stream: its ids then start again
                continue
            backoff.reset()
            for _, entries in reply:
                for entry_id, fields in entries:
                    cursor = entry_id
                    yield fields.get("questionId", "")
