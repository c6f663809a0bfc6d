"""The page for everyone: by keyboard, by ear, in every colour scheme and size."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.e2e.pages import (
    QUESTION,
    TIMEOUT,
    TIMEOUT_MESSAGE,
    WIDE,
    answer,
    asked,
    button,
    card,
    earlier,
    expect_answer,
    expect_progress,
    open_page,
    opened_context,
    tab_to,
)
from tests.fakes.fake_backend import FakeBackend

pytestmark = pytest.mark.asyncio(loop_scope="session")

HEAR = """
  heard = [];
  new MutationObserver((changes) => {
    const nodes = changes.flatMap(({ addedNodes }) => [...addedNodes]);
    heard.push(...nodes.map((node) => node.textContent));
  }).observe(document.querySelector("[data-announcer]"), { childList: true });
"""


@pytest_asyncio.fixture(loop_scope="session")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """A profile with room for the list beside the page."""
    async with opened_context(browser, viewport=WIDE) as context:
        yield context


async def test_everything_can_be_done_by_keyboard(page: Page, backend: FakeBackend) -> None:
    """Ask, stop, ask again, open an earlier answer, remove it: the focus is never lost."""
    await expect(page.get_by_label("Your question")).to_be_focused()
    await page.keyboard.type(QUESTION)
    await page.keyboard.press("Enter")
    await backend.heard("askQuestion")
    await backend.start()
    await backend.say("On and on")
    await expect_answer(page, "On and on")
    await tab_to(page, button(page, "Stop"), "Shift+Tab")
    await page.keyboard.press("Enter")
    await backend.heard("stopQuestion")
    await expect(card(page)).to_be_focused()
    await tab_to(page, button(page, "Ask again"))
    await page.keyboard.press("Enter")
    await backend.heard("askQuestion")
    await expect(card(page).last).to_be_focused()
    await backend.answer("Said.")
    await expect_progress_of_last(page, "Done.")
    await tab_to(page, card(page).last.get_by_role("button", name="Close"))
    await page.keyboard.press("Enter")
    await expect(card(page)).to_have_count(1)
    await expect(card(page)).to_be_focused()
    await tab_to(page, page.get_by_role("link", name="Ask a question"), "Shift+Tab")
    await page.keyboard.press("Enter")
    await expect(page.get_by_label("Your question")).to_be_focused()
    await tab_to(page, earlier(page).get_by_role("link", name=QUESTION).first, "Shift+Tab")
    await page.keyboard.press("Enter")
    await expect(card(page).last).to_be_focused()
    await expect(answer(page).last).to_have_text("Said.")
    await tab_to(page, earlier(page).get_by_role("button").first, "Shift+Tab")
    await page.keyboard.press("Enter")
    await expect(earlier(page).get_by_role("listitem")).to_have_count(1)
    await expect(earlier(page).get_by_role("button")).to_be_focused()


async def expect_progress_of_last(page: Page, words: str) -> None:
    """Wait until the last card says this of its state."""
    await expect(card(page).last.locator("[data-progress]")).to_have_text(words)


async def test_what_happens_is_told_once(page: Page, backend: FakeBackend) -> None:
    """Whoever listens hears that the answer comes and that it is done, and no piece of it."""
    await page.evaluate(HEAR)
    await asked(page, backend)
    await backend.start()
    await backend.say("word ")
    await page.wait_for_function("() => heard.length === 1")
    await backend.say(*["word "] * 199)
    await backend.end()
    await page.wait_for_function("() => heard.length === 2")
    assert await page.evaluate("heard") == ["Answering.", "Done: 200 words."]
    await expect(answer(page)).to_have_attribute("aria-live", "off")
    assert await page.locator("[aria-live=polite], [aria-live=assertive]").count() == 0


async def test_two_answers_are_told_apart_by_ear(page: Page, backend: FakeBackend) -> None:
    """With several on the page, what is told says of which; a failure says why."""
    await page.evaluate(HEAR)
    one = await asked(page, backend, "One?")
    await asked(page, backend, "Two?")
    await backend.start(of=one)
    await backend.say("Well,", of=one)
    await backend.end("failed", of=one, error=TIMEOUT)
    await page.wait_for_function("() => heard.length >= 2")
    assert f"“One?”: {TIMEOUT_MESSAGE}" in await page.evaluate("heard")


async def test_a_lost_connection_is_told_once(page: Page, backend: FakeBackend) -> None:
    """Not once for each answer and each attempt to reconnect."""
    await asked(page, backend, "One?")
    await asked(page, backend, "Two?")
    await backend.start()
    await backend.say("Well,")
    await expect_answer(page, "Well,", "Two?")
    await page.evaluate(HEAR)
    await backend.leave()
    await page.wait_for_function("() => heard.some((words) => words.includes('Reconnecting'))")
    await backend.listen()
    await page.wait_for_function("() => heard.includes('Connected again.')")
    told = await page.evaluate("heard.filter((words) => words.includes('Reconnecting'))")
    assert told == ["Connection lost. Reconnecting."]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_colours_are_those_the_person_prefers(
    browser: Browser, site: str, backend: FakeBackend, scheme: Any
) -> None:
    """Light on dark, or dark on light, by the settings of the system."""
    async with opened_context(browser, color_scheme=scheme) as context:
        page = await open_page(context, site, backend)
        ground, ink = await page.evaluate(
            "() => ['backgroundColor', 'color'].map((name) =>"
            " getComputedStyle(document.body)[name].match(/\\d+/g).map(Number)[0])"
        )
        assert (ground > ink) == (scheme == "light")


async def test_nothing_moves_for_whoever_wants_it_still(
    browser: Browser, site: str, backend: FakeBackend
) -> None:
    """The sign of life breathes, unless motion is to be reduced."""
    for motion, animations in (("no-preference", 1), ("reduce", 0)):
        async with opened_context(browser, reduced_motion=motion) as context:
            page = await open_page(context, site, backend)
            await asked(page, backend)
            await expect(card(page).locator(".pulse")).to_be_visible()
            assert await page.evaluate("document.getAnimations().length") == animations


async def test_forced_colours_leave_everything_to_be_seen(
    browser: Browser, site: str, backend: FakeBackend
) -> None:
    """Where the system forces its colours, buttons have borders, and states are told in words."""
    async with opened_context(browser, forced_colors="active") as context:
        page = await open_page(context, site, backend)
        await asked(page, backend)
        stop = button(page, "Stop")
        assert await stop.evaluate("button => getComputedStyle(button).borderTopWidth") == "1px"
        border = await stop.evaluate("button => getComputedStyle(button).borderTopColor")
        assert border != "rgba(0, 0, 0, 0)"
        await expect_progress(page, "Waiting for the first word …")


async def test_a_zoomed_page_keeps_room_to_read(page: Page, backend: FakeBackend) -> None:
    """At 400 % nothing sticks to the edges, and nothing has to be scrolled sideways."""
    await page.set_viewport_size({"width": 320, "height": 256})
    await asked(page, backend)
    await backend.answer("Well, " * 200)
    await expect_progress(page, "Done.")
    sticky = (
        "() => [...document.querySelectorAll('body *')].filter((element) => element.offsetHeight"
        " && ['sticky', 'fixed'].includes(getComputedStyle(element).position)).length"
    )
    assert await page.evaluate(sticky) == 0
    assert await page.evaluate("document.documentElement.scrollWidth") <= 320
