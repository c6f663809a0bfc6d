"""`questions`: recent questions and their status."""

import json
import time
from argparse import Namespace
from collections.abc import Iterable

from ..protocol.record import Record
from ..protocol.stream_names import StreamNames
from ..settings import Settings
from ..store.recent_questions import recent_questions
from .console import OK, printable, remark, say
from .environment import read_settings, require
from .stored import querying, run_query

HEADINGS = ("ID", "STATUS", "ATTEMPT", "AGE", "TOOK", "WHY")
MOST_WORDS = 60  # characters of a question on a line


def questions(options: Namespace) -> int:
    """Print recent questions; topics and questions only with --words."""
    settings = read_settings()
    require(settings, "REDIS_URL")
    return run_query(_list(settings, options))


async def _list(settings: Settings, options: Namespace) -> int:
    async with querying(settings) as (storage, stored):
        recent = await recent_questions(
            storage,
            stored,
            StreamNames(settings.openai_stream).shared if settings.use_xread else None,
            options.limit,
            lambda record: options.status in (None, record.status),
        )
    now_ms = time.time_ns() // 1_000_000
    if options.json:
        for record in recent.records:
            say(json.dumps(_as_json(record, words=options.words)))
    else:
        _print_table([_row(record, now_ms, words=options.words) for record in recent.records])
    if not recent.complete and len(recent.records) < options.limit:
        remark("There may be older ones: only so much of Redis was looked at.")
    return OK


def _as_json(record: Record, *, words: bool) -> dict[str, object]:
    told: dict[str, object] = {
        "questionId": record.question_id,
        "status": record.status,
        "attempt": record.attempt,
        "askedAt": record.asked_at_ms,
        "endedAt": record.ended_at_ms or None,
        "error": record.error,
        "finishReason": record.finish_reason,
        "usage": record.usage.payload if record.usage else None,
        "model": record.model,
    }
    return told | {"topic": record.topic, "topicQuestion": record.question} if words else told


def _row(record: Record, now_ms: int, *, words: bool) -> list[str]:
    row = [
        record.question_id,
        record.status,
        str(record.attempt),
        _span(now_ms - record.asked_at_ms),
        _span(record.ended_at_ms - record.asked_at_ms) if record.ended_at_ms else "-",
        record.error["code"] if record.error else record.finish_reason or "-",
    ]
    if words:
        said = f"{record.topic}: {record.question}"
        row.append(said if len(said) <= MOST_WORDS else f"{said[: MOST_WORDS - 1]}…")
    return [printable(" ".join(cell.split())) for cell in row]


def _print_table(rows: list[list[str]]) -> None:
    table = [list(HEADINGS), *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(HEADINGS))]
    for row in table:
        say("  ".join(_padded(row, widths)).rstrip())


def _padded(row: list[str], widths: list[int]) -> Iterable[str]:
    for column, cell in enumerate(row):
        yield cell.ljust(widths[column]) if column < len(widths) else cell


def _span(ms: int) -> str:
    """A time span as people say it: 0.4s, 12s, 3m, 5h."""
    seconds = max(0, ms) / 1000
    for size, unit in ((3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.1f}s" if seconds < 10 else f"{seconds:.0f}s"
