"""Wishes to stop, carried from any server to the worker that has the question.

The wish itself stands in the question's record; this stream only makes it fast.
"""

from collections.abc import AsyncIterator

from .connection import BLOCK_MS, STORAGE_ERRORS, Backoff, Storage

STREAM = "OPENAI_STOPS"
KEPT = 1_000  # entries; a wish is acted on within a second, or found in the record
PAGE = 100  # entries a read


class Stops:
    """The stream of wishes to stop."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def send(self, question_id: str) -> None:
        """Tell every worker that this question is to be stopped."""
        await self._storage.pipelining.send(
            "XADD", STREAM, "MAXLEN", "~", KEPT, "*", "questionId", question_id
        )

    async def listen(self) -> AsyncIterator[str]:
        """Give the ids of questions to stop as they come in; never ends by itself."""
        cursor = "$"  # what is missed between two reads is found in the records
        backoff = Backoff()
        while True:
            try:
                reply = await self._storage.blocking.xread(
                    {STREAM: cursor}, count=PAGE, block=BLOCK_MS
                )
            except STORAGE_ERRORS as exc:
                backoff.log(exc)
                await backoff.wait()
                cursor = "$"  # the stream may have begun anew
                continue
            backoff.reset()
            for _, entries in reply:
                for entry_id, fields in entries:
                    cursor = entry_id
                    yield fields.get("questionId", "")
