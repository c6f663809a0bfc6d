"""Which questions there were lately, found by their traces.

Every question stands in the work queue until it has ended, and its entries in a stream
of answers. Where that is one stream for all, it is read from its end. Where there are
many, nobody knows their names: the keys of questions are looked for then, among those
of everybody, and no further than a bound.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from ..protocol.record import Record
from .connection import Client, Storage
from .records import Questions, question_key
from .work_queue import STREAM as QUEUE

PAGE = 500  # entries a read
MOST_LOOKED_AT = 20_000  # entries of a stream, from its end backwards: some tens of MB at most
MOST_KEYS = 100_000  # keys that are passed by, in no order: under a second of Redis's time


@dataclass(frozen=True, slots=True)
class Recent:
    """Records, the newest question first; not `complete` where older entries were not looked at."""

    records: list[Record]
    complete: bool


async def recent_questions(
    storage: Storage,
    questions: Questions,
    stream: str | None,
    limit: int,
    wanted: Callable[[Record], bool] = lambda record: True,
) -> Recent:
    """The newest `limit` questions that are wanted, among those that left a trace.

    `stream` is that of all answers; None where there are many.
    """
    found: dict[str, Record] = {}
    answered = _Stream(storage.commands, stream) if stream else _Keys(storage.commands)
    searches = (_Stream(storage.commands, QUEUE), answered)
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


class _Stream:
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


class _Keys:
    """Reads the ids of questions off the names of keys."""

    newest_first = False

    def __init__(self, redis: Client) -> None:
        self._redis = redis
        self.gave_up = False

    async def pages(self) -> AsyncIterator[list[str]]:
        """Give ids, page by page; some may come twice."""
        prefix = question_key("")
        cursor: int | str = 0
        for _ in range(MOST_KEYS // PAGE):
            cursor, keys = await self._redis.scan(cursor, match=f"{prefix}*", count=PAGE)
            yield [key.removeprefix(prefix) for key in keys]
            if int(cursor) == 0:
                return
        self.gave_up = True
