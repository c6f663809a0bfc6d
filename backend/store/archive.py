"""A copy of each answer by itself, so that reading it again costs nothing of other answers.

The stream holds the entries of everybody, in the order of writing. To find one
answer in it again takes as long as all that was written meanwhile. So a worker
also keeps, page by page, what it has written for a question, in a list of its own. A
page only repeats entries, with their ids; where it and the stream differ, the stream is
right. What no page covers yet, the last second at most, is read from the stream.
"""

import json

from ..protocol.entries import Entry
from ..protocol.errors import Expired
from .batching import Command
from .connection import Client, expecting_ours

PAGES_A_READ = 4  # a page is a second of an answer, or PAGE_CHARS of the writer


def archive_key(question_id: str) -> str:
    """The key of the list of pages."""
    return f"answers:{question_id}"


class Archive:
    """The pages of answers. They expire `retention_s` after the last one was added."""

    def __init__(self, redis: Client, retention_s: float) -> None:
        self._redis = redis
        self._ttl_s = max(1, round(retention_s))

    def page(self, question_id: str, entries: list[Entry]) -> list[Command]:
        """The commands that append a page; appending it twice does no harm."""
        key, rows = archive_key(question_id), [entry.row() for entry in entries]
        return [("RPUSH", key, json.dumps(rows)), ("EXPIRE", key, str(self._ttl_s))]

    async def read(self, question_id: str, first_page: int) -> tuple[list[Entry], int]:
        """Read some pages, in the order of writing; returns their entries and the next page.

        What other programs have put there counts as empty pages, or as none at all.
        """
        try:
            with expecting_ours():
                pages = await self._redis.lrange(
                    archive_key(question_id), first_page, first_page + PAGES_A_READ - 1
                )
        except Expired:
            return [], first_page
        entries = [entry for page in pages for entry in _entries(question_id, page)]
        return entries, first_page + len(pages)


def _entries(question_id: str, page: str) -> list[Entry]:
    try:
        return [Entry.from_row(question_id, row) for row in json.loads(page)]
    except (ValueError, TypeError, KeyError, RecursionError):
        return []
