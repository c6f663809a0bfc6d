"""What it costs the browser to show an answer as Markdown while it is written.

`python -m tests.benchmarks.page` prints two tables, measured in Chromium:

an answer     of 20,000 tokens with paragraphs, lists, tables and code, shown by the page's
              renderer and, for comparison, by the two lines that many a page begins with
worst cases   answers of one endless block, or made to be slow

A piece is what came since the last frame, 20 tokens of 4 characters.

script        median time in JavaScript for a piece, of the first tenth of them and of the last
thread        CPU time of the page's thread for a piece: script, style, layout, painting
99th, longest of the times in JavaScript of all frames, the clearing up at the end included
"""

import argparse
import asyncio
import statistics
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web
from playwright.async_api import CDPSession, Page, Route

from backend.server.static_page import create_page
from tests.fakes.chromium import chromium
from tests.fakes.markdown import WORST, answer, pieces

TOKENS = 20_000
CHARS_A_TOKEN = 4
TOKENS_A_FRAME = 20  # 1,200 a second: faster than any model, so that the benchmark ends
WARM_UP_CHARS = 10_000
LONG_FRAME_MS = 50
PROGRAM = Path(__file__).with_suffix(".mjs")
HARNESS = (
    '<!doctype html><html lang="en"><meta charset="utf-8">'
    '<link rel="stylesheet" href="styles.css"><link rel="stylesheet" href="markdown.css">'
    '<main style="height: 600px; overflow-y: auto"></main>'
    '<script type="module" src="bench.mjs"></script></html>'
)
# A page that shares nothing with others may read the clock to 5 us, instead of 100.
FINE_CLOCK = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}
Metrics = dict[str, float]


@dataclass(frozen=True, slots=True)
class Cost:
    """What showing an answer took, in milliseconds and MB."""

    script: tuple[float, float]
    thread: tuple[float, float]
    percentile: float
    longest: float
    long_frames: int
    frames: int
    heap_mb: float
    nodes: int

    def row(self, name: str) -> str:
        """One line of a table."""
        pairs = "".join(f"{value:>8.2f}" for value in (*self.script, *self.thread))
        return (
            f"{name:<34}{pairs}{self.percentile:>8.1f}{self.longest:>9.1f}"
            f"{f'{self.long_frames} of {self.frames:,}':>15}{self.heap_mb:>7.1f}{self.nodes:>8,}"
        )


HEADER = (
    f"{'':<34}{'script, ms':>16}{'thread, ms':>16}{'script of frames':>17}{'frames over':>15}"
    f"{'heap':>7}{'DOM':>8}\n"
    f"{'':<34}{'first    last':>16}{'first    last':>16}{'99th  longest':>17}"
    f"{f'{LONG_FRAME_MS} ms':>15}{'MB':>7}{'nodes':>8}"
)


class Bench:
    """A page that shows answers, and what the browser says of it."""

    def __init__(self, page: Page, browser: CDPSession) -> None:
        self._page = page
        self._browser = browser

    async def measure(self, renderer: str, text: str, *, calls_a_frame: int = 1) -> Cost:
        """Show an answer; `calls_a_frame` pieces of a frame's text each, and one call for each."""
        chars = CHARS_A_TOKEN * TOKENS_A_FRAME // calls_a_frame
        parts = pieces(text, chars)
        tenth = max(1, len(parts) // calls_a_frame // 10) * calls_a_frame
        await self._page.evaluate("name => bench.start(name)", renderer)
        before = await self._metrics(collect=True)
        frames: list[tuple[float, float]] = []
        stages = []
        for stage in (parts[:tenth], parts[tenth:-tenth], parts[-tenth:]):
            began = await self._metrics()
            frames += await self._page.evaluate(
                "([pieces, calls]) => bench.feed(pieces, calls)", [stage, calls_a_frame]
            )
            stages.append(_between(began, await self._metrics(), tenth // calls_a_frame))
        frames += await self._page.evaluate("bench.end()")
        after = await self._metrics(collect=True)
        await self._page.evaluate("bench.drop()")
        gaps, scripts = zip(*frames, strict=True)
        fed = len(parts) // calls_a_frame
        edge = tenth // calls_a_frame
        return Cost(
            (statistics.median(scripts[:edge]), statistics.median(scripts[fed - edge : fed])),
            (stages[0]["TaskDuration"], stages[-1]["TaskDuration"]),
            statistics.quantiles(scripts, n=100)[-1],
            max(scripts),
            sum(gap > LONG_FRAME_MS for gap in gaps),
            len(gaps),
            (after["JSHeapUsedSize"] - before["JSHeapUsedSize"]) / 1e6,
            int(after["Nodes"] - before["Nodes"]),
        )

    async def _metrics(self, *, collect: bool = False) -> Metrics:
        for _ in range(2 if collect else 0):  # what the first one frees may free more
            await self._browser.send("HeapProfiler.collectGarbage")
        answer = await self._browser.send("Performance.getMetrics")
        return {metric["name"]: metric["value"] for metric in answer["metrics"]}


def _between(began: Metrics, ended: Metrics, pieces: int) -> Metrics:
    """The difference for each piece, in milliseconds."""
    return {name: 1_000 * (ended[name] - began[name]) / pieces for name in began}


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    """The page's files and a browser that shows them; no policy, which would forbid `innerHTML`."""
    runner = web.AppRunner(create_page(), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with chromium("--enable-precise-memory-info") as browser:
            page = await browser.new_page()
            page.set_default_timeout(0)

            async def serve(route: Route) -> None:
                if route.request.url.endswith(".mjs"):
                    await route.fulfill(path=PROGRAM, content_type="text/javascript")
                else:
                    await route.fulfill(body=HARNESS, content_type="text/html", headers=FINE_CLOCK)

            await page.route("**/bench*", serve)
            await page.goto(f"{url}/bench")
            await page.wait_for_function("window.bench")
            cdp = await page.context.new_cdp_session(page)
            await cdp.send("Performance.enable", {"timeDomain": "threadTicks"})
            yield Bench(page, cdp)
    finally:
        await runner.cleanup()


async def measure_answer(bench: Bench, tokens: int) -> None:
    """Print the first table."""
    text = answer(tokens * CHARS_A_TOKEN)
    print(f"an answer of {tokens:,} tokens, {TOKENS_A_FRAME} a frame\n\n{HEADER}")
    runs = [
        ("markdown", "markdown", 1),
        ("markdown, a call for each token", "markdown", TOKENS_A_FRAME),
        ("plain text, the fallback", "plain", 1),
        ("innerHTML = marked(all)", "rerendered", 1),
        ("innerHTML += piece", "reparsed", 1),
    ]
    for name, renderer, calls in runs:
        print((await bench.measure(renderer, text, calls_a_frame=calls)).row(name), flush=True)


async def measure_worst(bench: Bench, tokens: int) -> None:
    """Print the second table."""
    print(f"\nworst cases, of as many characters\n\n{HEADER}")
    for name, write in WORST.items():
        cost = await bench.measure("markdown", write(tokens * CHARS_A_TOKEN))
        print(cost.row(name), flush=True)


async def run(tokens: int, parts: set[str]) -> None:
    """Measure."""
    async with bench() as page:
        await page.measure("markdown", answer(WARM_UP_CHARS))
        if "answer" in parts:
            await measure_answer(page, tokens)
        if "worst" in parts:
            await measure_worst(page, tokens)


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.page",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tokens", type=int, default=TOKENS)
    parser.add_argument("--only", choices=["answer", "worst"])
    options = parser.parse_args()
    parts = {options.only} if options.only else {"answer", "worst"}
    asyncio.run(run(options.tokens, parts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
