"""A real Chromium, as the tests and the benchmark of the page use it."""

import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@asynccontextmanager
async def chromium(*arguments: str, without: Sequence[str] = ()) -> AsyncIterator[Browser]:
    """Chromium without a window; it ends with the block. `without`: Playwright's own arguments."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[*_ARGS, *arguments],
            ignore_default_args=without,
            timeout=30_000,
        )
        try:
            yield browser
        finally:
            await browser.close()
