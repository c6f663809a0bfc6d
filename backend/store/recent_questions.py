"""Finds recent questions without an index: in the work queue, and in the entries of answers.

Every question is in the work queue until it has ended, and its entries are in a stream of
answers. Where that is one stream for all, it is read from its end. Where there are many, their
names are not known: the keyspace is scanned for records then, up to a bound.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from ..protocol.record import Record
from .connection import Client, Storage
from .records import Records, question_key
from .work_queue import QUEUE_STREAM

SEARCHED_PER_READ = 500  # entries or keys
MOST_ENTRIES = 20_000  # of a stream, from its end backwards: some tens of MB at most
MOST_KEYS = 100_000  # of the whole keyspace, in no order: under a second of Redis's time


@dataclass(frozen=True, slots=True)
class Recent:
    """Records, the newest question first; not `complete` where older entries were not read."""

    records: list[Record]
    complete: bool


async def recent_questions(
    storage: Storage,
    questions: Records,
    stream: str | None,
    limit: int,
    wanted: Callable[[Record], bool] = lambda record: True,
) -> Recent:
    """The newest `limit` questions that are wanted, among those that can be found.

    `stream` is that of all answers; None where there are many.
    """
    found: dict[str, Record] = {}
    answered = _StreamSearch(storage.commands, stream) if stream else _KeySearch(storage.commands)
    searches = (_StreamSearch(storage.commands, QUEUE_STREAM), answered)
    for search in searches:
        matching: dict[str, Record] = {}
        async for ids in search.pages():
            records = await questions.read_many(ids)
            matching |= {each.question_id: each for each in records if each and wanted(each)}
            if search.newest_first and len(matching) >= limit:
                break
        found |= matching
    newest = sorted(found.values(), key=lambda record: record.asked_at_ms, reverse=True)
    return Recent(newest[:limit], complete=not any(search.gave_up for search in searches))


class _StreamSearch:
    """Reads the ids of questions off a stream, from its end backwards."""

    newest_first = True

    def __init__(self, redis: Client, stream: str) -> None:
        self._redis = redis
        self._stream = stream
        self._seen: set[str] = set()
        self.gave_up = False

    async def pages(self) -> AsyncIterator[list[str]]:
        """Give the ids that have not come yet, page by page."""
        before = "+"
        for _ in range(MOST_ENTRIES // SEARCHED_PER_READ):
            rows = await self._redis.xrevrange(self._stream, max=before, count=SEARCHED_PER_READ)
            ids = dict.fromkeys(fields.get("questionId", "") for _, fields in rows)
            new = [each for each in ids if each and each not in self._seen]
            self._seen.update(new)
            yield new
            if len(rows) < SEARCHED_PER_READ:
                return
            before = f"({rows[-1][0]}"
        self.gave_up = True


class _KeySearch:
    """Reads the ids of questions off the names of keys."""

    newest_first = False

    def __init__(self, redis: Client) -> None:
        self._redis = redis
        self.gave_up = False

    async def pages(self) -> AsyncIterator[list[str]]:
        """Give ids, page by page; some may come twice."""
        prefix = question_key("")
        cursor: int | str = 0
        for _ in range(MOST_KEYS // SEARCHED_PER_READ):
            cursor, keys = await self._redis.scan(
                cursor, match=f"{prefix}*", count=SEARCHED_PER_READ
            )
            yield [key.removeprefix(prefix) for key in keys]
            if int(cursor) == 0:
                return
        self.gave_up = True
