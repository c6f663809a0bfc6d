"""The page for everyone: by keyboard, by ear, in every colour scheme and size."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.e2e.pages import (
    PHONE,
    QUESTION,
    TIMEOUT,
    TIMEOUT_MESSAGE,
    WIDE,
    answer,
    ask,
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
from tests.fakes.programs import TESTS, need_clients

pytestmark = pytest.mark.asyncio(loop_scope="session")

SCHEMES: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")
AXE = TESTS / "node_modules" / "axe-core" / "axe.min.js"
MARKDOWN = """\
Both keep things **in order**, with a [link](https://redis.io/) and `code`.

# What an entry is

1. an *id*
2. fields

```python
entry_id = await redis.xadd("OPENAI_STREAM", {"questionId": question_id})  # a comment, "a string"
```

| question | list | stream |
|---|---|---|
| can be read again | no | yes |

> A stream remembers.
"""

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
    message = f"“One?”: {TIMEOUT_MESSAGE}"
    await page.wait_for_function("said => heard.includes(said)", arg=message)


async def test_a_lost_connection_is_told_once(page: Page, backend: FakeBackend) -> None:
    """Not once for each answer and each attempt; an answer that goes on is no news."""
    await page.evaluate(HEAR)
    await asked(page, backend, "One?")
    await asked(page, backend, "Two?")
    await backend.start()
    await backend.say("Well,")
    await page.wait_for_function("() => heard.includes('“Two?”: Answering.')")
    await backend.leave()
    await page.wait_for_function("() => heard.includes('Connection lost. Reconnecting.')")
    await backend.listen()
    await page.wait_for_function("() => heard.includes('Connected again.')")
    await backend.end()
    await page.wait_for_function("() => heard.includes('“Two?”: Done: 1 word.')")
    heard = await page.evaluate("heard")
    for once in ("Connection lost. Reconnecting.", "“Two?”: Answering.", "Connected again."):
        assert heard.count(once) == 1, heard


@pytest.fixture(scope="module")
def axe() -> str:
    """axe-core's script; skips, with the reason, where it is not installed."""
    need_clients()
    return Path(AXE).read_text("utf-8")


async def violations(page: Page, axe: str) -> list[str]:
    """What axe-core objects to, in light and dark, on a phone and on a wide screen."""
    await page.evaluate(axe)
    found = []
    for size in (PHONE, WIDE):
        await page.set_viewport_size({"width": size["width"], "height": size["height"]})
        for scheme in SCHEMES:
            await page.emulate_media(color_scheme=scheme)
            await page.evaluate("() => new Promise(requestAnimationFrame)")
            result: list[dict[str, Any]] = await page.evaluate(
                "async () => (await axe.run({ resultTypes: ['violations'] })).violations"
            )
            found += [
                f"{scheme} {size['width']}: {rule['id']}: {node['html']}"
                for rule in result
                for node in rule["nodes"]
            ]
    return found


class TestAxe:
    """axe-core, the usual judge of accessibility, has no objection in any state."""

    async def test_idle(self, page: Page, axe: str) -> None:
        """Before the first question."""
        assert await violations(page, axe) == []

    async def test_waiting_streaming_and_done(
        self, page: Page, backend: FakeBackend, axe: str
    ) -> None:
        """A whole answer with all kinds of Markdown, one that streams, one that waits; the list."""
        await asked(page, backend, f"{QUESTION}\nIn short.")
        await backend.answer(*re.findall(r"\S*\s*", MARKDOWN))
        await expect_progress(page, "Done.")
        await asked(page, backend, "Two?")
        await backend.start()
        await backend.say("A `stream`", " is")
        await expect_progress(page, "Answering …", "Two?")
        await asked(page, backend, "Three?")
        await expect_progress(page, "Waiting for the first word …", "Three?")
        assert await violations(page, axe) == []

    async def test_failed_and_offline(
        self, page: Page, context: BrowserContext, backend: FakeBackend, axe: str
    ) -> None:
        """A failure with its reason, a question that waits for the network, and the jump button."""
        await asked(page, backend)
        await backend.start()
        await backend.say("Well,\n\n" * 80)
        await backend.end("failed", error=TIMEOUT)
        await expect_progress(page, "Broken off.")
        await context.set_offline(True)
        await ask(page, "Two?")
        await expect(page.get_by_text("Offline, still trying")).to_be_visible()
        await page.evaluate("scrollTo(0, 100)")
        await expect(page.get_by_role("button", name="Jump to the end")).to_be_visible()
        assert await violations(page, axe) == []

    async def test_the_list_over_a_phone(self, page: Page, backend: FakeBackend, axe: str) -> None:
        """The list of earlier questions, opened."""
        await page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
        await asked(page, backend)
        await backend.answer("Said.")
        await expect_progress(page, "Done.")
        await page.get_by_role("button", name="Earlier questions").click()
        assert await violations(page, axe) == []


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
