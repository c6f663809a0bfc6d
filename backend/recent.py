"""Which questions there were lately, found by their traces in the streams.

The keyspace is somebody else's as well: it is never searched. Every question stands
in the work queue until it has ended, and its entries in the stream of answers.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from .questions import Questions
from .queue import STREAM as QUEUE
from .record import Record
from .storage import Client, Storage

PAGE = 500  # entries a read
MOST_LOOKED_AT = 20_000  # entries of a stream, from its end backwards: some tens of MB at most


@dataclass(frozen=True, slots=True)
class Recent:
    """Records, the newest question first; not `complete` where older entries were not looked at."""

    records: list[Record]
    complete: bool


async def recent_questions(
    storage: Storage,
    questions: Questions,
    stream: str,
    limit: int,
    wanted: Callable[[Record], bool] = lambda record: True,
) -> Recent:
    """The newest `limit` questions that are wanted, among those that left a trace."""
    found: dict[str, Record] = {}
    complete = True
    for name in (QUEUE, stream):
        search = _Search(storage.commands, name)
        matching: dict[str, Record] = {}
        async for ids in search.pages():
            records = await questions.read_many(ids)
            matching |= {each.question_id: each for each in records if each and wanted(each)}
            if len(matching) >= limit:
                break
        found |= matching
        complete = complete and not search.gave_up
    newest = sorted(found.values(), key=lambda record: record.asked_at_ms, reverse=True)
    return Recent(newest[:limit], complete)


class _Search:
    """Reads the ids of questions off a stream, from its end backwards."""

    def __init__(self, redis: Client, stream: str) -> None:
        self._redis = redis
        self._stream = stream
        self._seen: set[str] = set()
        self.gave_up = False

    async def pages(self) -> AsyncIterator[list[str]]:
        """Give the ids that have not come yet, page by page."""
        before = "+"
        for _ in range(MOST_LOOKED_AT // PAGE):
            rows = await self._redis.xrevrange(self._stream, max=before, count=PAGE)
            ids = dict.fromkeys(fields.get("questionId", "") for _, fields in rows)
            new = [each for each in ids if each and each not in self._seen]
            self._seen.update(new)
            yield new
            if len(rows) < PAGE:
                return
            before = f"({rows[-1][0]}"
        self.gave_up = True
