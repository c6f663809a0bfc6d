"""The table: each figure with its median, its spread, what it should be, and the floor's."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.benchmarks.speed.cases import Sample

Samples = dict[str, list[Sample]]  # by case
Get = Callable[[Sample], float]


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: all its values, the bound it should keep, and what the floor takes for it."""

    title: str
    values: Sequence[float]
    unit: str
    target: str = ""
    floor: Sequence[float] = ()

    def cells(self) -> tuple[str, ...]:
        """The row as text."""
        median = statistics.median(self.values)
        spread = f"{_short(min(self.values))} to {_short(max(self.values))}"
        floor = statistics.median(self.floor) if self.floor else 0.0
        return (
            self.title,
            f"{_short(median)} {self.unit}",
            spread if len(self.values) > 1 else "",
            self.target,
            f"{_short(floor)} {self.unit}" if floor else "",
            f"{median / floor:.2f}" if floor else "",
        )


HEAD = ("", "median", "spread", "target", "floor", "ratio")


def table(rows: Sequence[Row]) -> list[str]:
    """The rows, aligned."""
    lines = [HEAD, *(row.cells() for row in rows if row.values)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def rows_of(samples: Samples) -> list[Row]:
    """The figures of the cases that were run."""

    def values(case: str, get: Get) -> list[float]:
        return [value for sample in samples.get(case, ()) if (value := get(sample))]

    def ratio(case: str, base: str, get: Get) -> list[float]:
        bases = values(base, get)
        return [value / statistics.median(bases) for value in values(case, get) if bases]

    def tree(sample: Sample) -> float:
        return sample.tree_us

    rows = [
        Row("50 users, 20 ms: CPU a token", values("steady", tree), "us", "185, better 92",
            values("floor, steady", tree)),
        Row("  of Redis besides", values("steady", lambda s: s.redis_us), "us"),
        Row("  memory of Redis", values("steady", lambda s: s.redis_bytes), "bytes"),
        Row("  XADD a token", values("steady", lambda s: s.xadd), ""),
        Row("  XREAD a token", values("steady", lambda s: s.xread), ""),
        Row("  pieces a token", values("steady", lambda s: s.pieces), ""),
        Row("  delay of a piece, median", values("steady", lambda s: s.delay_p50_ms), "ms", "",
            values("floor, steady", lambda s: s.delay_p50_ms)),
        Row("  delay of a piece, 99 %", values("steady", lambda s: s.delay_p99_ms), "ms", "",
            values("floor, steady", lambda s: s.delay_p99_ms)),
        Row("a stream for each question: CPU a token", values("own streams", tree), "us"),
        Row("  of Redis besides", values("own streams", lambda s: s.redis_us), "us"),
        Row("  memory of Redis", values("own streams", lambda s: s.redis_bytes), "bytes"),
        Row("  XREAD a token", values("own streams", lambda s: s.xread), ""),
        Row("burst of 20 users: tokens a second", values("burst", lambda s: s.tokens_s), "",
            "10000, better 15000", values("floor, burst", lambda s: s.tokens_s)),
        Row("  CPU a token", values("burst", tree), "us", "", values("floor, burst", tree)),
        Row("  pieces a token", values("burst", lambda s: s.pieces), ""),
        Row("40 users, 20 ms, one worker: the server", values("one worker", lambda s: s.first_us),
            "us", "80"),
        Row("  all processes", values("one worker", tree), "us"),
        Row("  against one process", ratio("one worker", "forty", tree), "x", "1.2"),
        Row("40 users, 20 ms, two workers: the server", values("workers", lambda s: s.first_us),
            "us", "80"),
        Row("  all processes", values("workers", tree), "us"),
        Row("  against one process", ratio("workers", "forty", tree), "x", "1.2"),
        Row("  another server on that Redis", values("workers", lambda s: s.beside_us), "us"),
        Row("1 user, 20 ms: CPU a token", values("one user", tree), "us"),
        Row("10 users", values("ten users", tree), "us", "no more than 1 user"),
        Row("100 users", values("hundred users", tree), "us", "no more than 10 users"),
        Row("long answers: CPU a token", values("long", tree), "us"),
        Row("  against short ones", ratio("long", "short", tree), "x", "1.2"),
        Row("  longest silence of the server", values("long, probed", lambda s: s.silent_ms),
            "ms", "50"),
        Row("100 questions of one token: CPU of each", values("questions", tree), "us"),
        Row("500 users, 200 ms: CPU a token", values("crowd", tree), "us"),
        Row("  delay of a piece, median", values("crowd", lambda s: s.delay_p50_ms), "ms"),
        Row("  delay of a piece, 99 %", values("crowd", lambda s: s.delay_p99_ms), "ms", "250"),
        Row("500 users, two workers: the server", values("crowd, workers", lambda s: s.first_us),
            "us"),
        Row("  all processes", values("crowd, workers", tree), "us"),
        Row("  another server on that Redis", values("crowd, workers", lambda s: s.beside_us),
            "us"),
    ]  # fmt: skip
    return [row for row in rows if row.values]


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
