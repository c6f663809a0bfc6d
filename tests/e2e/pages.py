"""What a person does with the page and sees there, for the tests in a real browser."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, expect

from tests.fakes.fake_backend import FakeBackend

PHONE = {"width": 360, "height": 640}
WIDE = {"width": 1400, "height": 900}

QUESTION = "What is a stream?"
TIMEOUT_MESSAGE = "The model took too long."
TIMEOUT = {"code": "model_timeout", "message": TIMEOUT_MESSAGE, "retryable": True}


@asynccontextmanager
async def opened_context(browser: Browser, **options: Any) -> AsyncIterator[BrowserContext]:
    """A profile of its own, in which no script fails and nothing breaks the policy."""
    context = await browser.new_context(**{"reduced_motion": "reduce", **options})
    context.set_default_timeout(10_000)
    faults: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text:
            faults.append(message.text)

    context.on("console", note)
    context.on("weberror", lambda error: faults.append(str(error.error)))
    try:
        yield context
    finally:
        await context.close()
    assert faults == []


async def open_page(context: BrowserContext, site: str, backend: FakeBackend) -> Page:
    """Open the page in a tab of its own, and wait until it is connected to this backend."""
    page = await context.new_page()
    await page.goto(f"{site}?backend={backend.url}")
    await expect_connected(page)
    return page


async def expect_connected(page: Page) -> None:
    """Wait until the page says that it is connected."""
    await expect(page.get_by_text("Connected", exact=True)).to_be_visible()


async def ask(page: Page, question: str = QUESTION) -> None:
    """Type a question and press Enter."""
    await page.get_by_label("Your question").fill(question)
    await page.get_by_label("Your question").press("Enter")


async def asked(page: Page, backend: FakeBackend, question: str = QUESTION) -> str:
    """Ask, and wait until the backend has heard it; returns the question's id."""
    await ask(page, question)
    question_id: str = (await backend.heard("askQuestion"))["questionId"]
    return question_id


def card(page: Page, question: str = QUESTION) -> Locator:
    """The card of a question."""
    return page.get_by_role("article", name=question)


def answer(page: Page, question: str = QUESTION) -> Locator:
    """The words of the answer to a question."""
    return card(page, question).get_by_role("log")


def fold(page: Page, question: str = QUESTION) -> Locator:
    """The fold above an answer, with what the model thinks."""
    return card(page, question).locator("[data-thinking]")


def thought(page: Page, question: str = QUESTION) -> Locator:
    """What the model thinks, itself."""
    return fold(page, question).locator("[data-thought]")


def button(page: Page, name: str, question: str = QUESTION) -> Locator:
    """A button below an answer; those within it are the answer's own."""
    below = card(page, question).locator("footer, .error")
    return below.get_by_role("button", name=name, exact=True)


def earlier(page: Page) -> Locator:
    """The list of earlier questions."""
    return page.get_by_role("navigation", name="Earlier questions")


async def expect_answer(page: Page, text: str, question: str = QUESTION) -> None:
    """Wait until exactly this stands in the answer, white space aside."""
    await expect(answer(page, question)).to_have_text(text, use_inner_text=True)


async def expect_progress(
    page: Page, words: str | re.Pattern[str], question: str = QUESTION
) -> None:
    """Wait until the card says this of its state."""
    await expect(card(page, question).locator("[data-progress]")).to_have_text(words)


async def tab_to(page: Page, target: Locator, key: str = "Tab") -> None:
    """Press a key until this has the focus, as somebody without a mouse does."""
    for _ in range(60):
        if await target.evaluate("element => element === document.activeElement"):
            return
        await page.keyboard.press(key)
    raise AssertionError(f"{key} does not lead to {target}")
