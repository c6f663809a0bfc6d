"""Where answers stand: in the stream that is read live, and each in a log of its own.

An entry is appended to both in one step, under one id. So the log of an answer is exactly its
part of the shared stream: history is a range of the log, the live feed is the tail of the stream,
and the seam between them is an id. A stream that belongs to one question alone is its own log.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from ..protocol.entries import BEGINNING, Entry
from ..protocol.record import Record
from ..protocol.stream_names import is_own
from ..protocol.transcript import Transcript
from .connection import Client, expecting_ours

# Entries a read. A reader whose socket does not read holds so many.
ENTRIES_PER_READ = 200
NEWEST = "+"  # the id that is higher than every other

# One JSON text, which the script takes apart: redis-py takes some 10 us to pack a command and to
# look at its reply, this way an entry takes 1 us. Each item is a stream, a log (empty where the
# stream is one), and the fields of an entry. ARGV[2] holds commands that need not succeed: they
# bound what is kept.
# Where another program has taken a key, the entries for it are refused, and those behind them:
# a later entry must not stand without an earlier one. Any other error ends the script; none of
# what stands behind it was executed.
APPEND = """
local ids, refused = {}, {}
for i, item in ipairs(cjson.decode(ARGV[1])) do
  local stream, log, fields = item[1], item[2], item[3]
  local key = log ~= '' and log or stream
  local id = not refused[key] and not refused[stream]
             and redis.pcall('XADD', stream, '*', unpack(fields))
  if type(id) == 'table' then
    if not string.find(tostring(id.err), 'WRONGTYPE', 1, true) then return id end
    refused[stream], id = true, false
  end
  if id and log ~= '' then
    local copied = redis.pcall('XADD', log, id, unpack(fields))
    if type(copied) == 'table' then refused[key], id = true, false end
  end
  ids[i] = id
end
for _, command in ipairs(cjson.decode(ARGV[2])) do redis.pcall(unpack(command)) end
return ids
"""


def log_key(stream: str, question_id: str) -> str:
    """The key of an answer's own log: the stream itself, where it is this question's alone."""
    return stream if is_own(stream, question_id) else f"answers:{question_id}"


@dataclass(frozen=True, slots=True)
class Addition:
    """An entry that is to be appended to this stream, and to the log of its answer.

    `oldest_ms` is the Redis time before which nothing in the stream is worth keeping; 0 where
    that is not known.
    """

    stream: str
    entry: Entry
    oldest_ms: int = 0

    @property
    def item(self) -> tuple[str, str, list[str]]:
        """What the script is given."""
        log = log_key(self.stream, self.entry.question_id)
        fields = list(chain.from_iterable(self.entry.fields().items()))
        return self.stream, "" if log == self.stream else log, fields

    def bounds(self, keep_s: int, retention_s: int) -> list[tuple[str, ...]]:
        """The commands that bound what is kept.

        A log, and a stream, last `retention_s` beyond an END. An answer that is still being
        written needs them for longer, `keep_s` at the most.
        """
        ttl_s = str(retention_s if self.entry.ending else keep_s)
        log = log_key(self.stream, self.entry.question_id)
        bounds: list[tuple[str, ...]] = []
        if log != self.stream:  # which others write to as well: see `append_entries`
            bounds.append(("EXPIRE", self.stream, ttl_s))
        if self.entry.is_start or self.entry.ending:
            bounds.append(("EXPIRE", log, ttl_s))
            if log != self.stream and self.oldest_ms:
                bounds.append(("XTRIM", self.stream, "MINID", str(self.oldest_ms)))
        return bounds


async def append_entries(
    redis: Client, additions: Sequence[Addition], *, keep_s: int, retention_s: int
) -> list[str | None]:
    """Append entries in one step; returns their ids, None for those whose key is not ours.

    Sent again after a lost reply they stand twice, which the fold ignores. Raises what Redis or
    the connection raises.
    """
    # Those of ENDs first: a stream in which others go on must not expire as early.
    in_order = sorted(additions, key=lambda each: each.entry.ending is None)
    bounds = dict.fromkeys(
        chain.from_iterable(each.bounds(keep_s, retention_s) for each in in_order)
    )
    items = [each.item for each in additions]
    keys = dict.fromkeys(key for stream, log, _ in items for key in (stream, log) if key)
    ids: list[str | None] = await redis.eval(
        APPEND, len(keys), *keys, json.dumps(items), json.dumps(list(bounds))
    )
    return ids


class AnswerLog:
    """Reads the logs of answers; errors of Redis are left to the caller.

    But for one: Expired is raised where what should be a log is none.
    """

    def __init__(self, redis: Client) -> None:
        self._redis = redis

    async def read(
        self, record: Record, after: str, until: str = NEWEST
    ) -> tuple[list[Entry], str, bool]:
        """Read on behind the id `after`, up to `until`; `(<id>` stops before it.

        Returns the entries, the id to go on behind, and whether there may be more.
        """
        with expecting_ours():
            rows: list[Any] = await self._redis.xrange(
                log_key(record.stream, record.question_id),
                min=f"({after}",
                max=until,
                count=ENTRIES_PER_READ,
            )
        position = rows[-1][0] if rows else after
        return _entries(record.question_id, rows), position, len(rows) == ENTRIES_PER_READ

    async def entry(self, record: Record, entry_id: str) -> Entry | None:
        """The entry with this id; None where the answer has none."""
        with expecting_ours():
            rows = await self._redis.xrange(
                log_key(record.stream, record.question_id), min=entry_id, max=entry_id, count=1
            )
        return next(iter(_entries(record.question_id, rows)), None)

    async def transcript(self, record: Record, until: str = NEWEST) -> Transcript:
        """The answer as far as it stands; raises Expired at a hole."""
        transcript = Transcript()
        position, more = BEGINNING, True
        while more:
            entries, position, more = await self.read(record, position, until)
            for entry in entries:
                transcript.add(entry)
        return transcript


def _entries(question_id: str, rows: list[Any]) -> list[Entry]:
    """The entries of a question; what other programs have put there is left out."""
    entries = (Entry.parse(*row) for row in rows)
    return [entry for entry in entries if entry and entry.question_id == question_id]
