"""What a model thinks: told quietly, folded away, and in the background once the answer begins."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.e2e.pages import (
    PHONE,
    TIMEOUT,
    TIMEOUT_MESSAGE,
    WIDE,
    answer,
    asked,
    button,
    card,
    expect_answer,
    expect_connected,
    expect_progress,
    fold,
    opened_context,
    tab_to,
    thought,
)
from tests.e2e.test_page_everyone import AXE, HEAR, violations
from tests.fakes.fake_backend import FakeBackend
from tests.fakes.programs import need_clients

pytestmark = pytest.mark.asyncio(loop_scope="session")

TICKING = re.compile(r"^Thinking … 1\d s$")
LINE = "A thought that leads to the next one.\n"


@pytest_asyncio.fixture(loop_scope="session")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """A profile that may use the clipboard."""
    permissions = ["clipboard-read", "clipboard-write"]
    async with opened_context(browser, viewport=WIDE, permissions=permissions) as context:
        yield context


async def think(page: Page, backend: FakeBackend, *thoughts: str) -> str:
    """Ask, and have the model think for 12 s of Redis's time; the question's id."""
    question_id = await asked(page, backend)
    await backend.start(at_ms=1_000)
    await backend.think("First, ", at_ms=2_000)
    await backend.think(*(thoughts or ("second.",)), at_ms=14_000)
    await expect_summary(page, TICKING)
    return question_id


async def expect_summary(page: Page, words: str | re.Pattern[str]) -> None:
    """Wait until the line that can be unfolded says this."""
    await expect(fold(page).locator("summary")).to_have_text(words)


async def unfold(page: Page) -> None:
    """Open the fold with the mouse."""
    await fold(page).locator("summary").click()
    await expect(thought(page)).to_be_visible()


async def test_thinking_is_told_with_its_time(page: Page, backend: FakeBackend) -> None:
    """A line says so and counts; what is thought is folded away, and no part of the answer."""
    await think(page, backend)
    await expect_progress(page, "Waiting for the first word …")
    await expect(fold(page)).not_to_have_attribute("open", "")
    await expect(thought(page)).to_be_hidden()
    await expect_answer(page, "")
    time = fold(page).locator("[data-thinking-time]")
    first = await time.inner_text()
    await expect(time).not_to_have_text(first)


async def test_whoever_thinks_in_silence_is_waited_for(page: Page, backend: FakeBackend) -> None:
    """Without a thought there is nothing to unfold, and nothing about tokens that nobody told."""
    await asked(page, backend)
    await backend.start()
    await expect_progress(page, "Waiting for the first word …")
    await expect(fold(page)).to_be_hidden()
    await backend.say("Said.")
    await backend.end()
    await expect_progress(page, "Done.")
    await expect(fold(page)).to_be_hidden()
    for unknown in ("tokens", "model"):
        await expect(card(page).locator(f"[data-{unknown}]")).to_be_hidden()


async def test_the_answer_pushes_it_into_the_background(page: Page, backend: FakeBackend) -> None:
    """The line says how long it was, in a quieter colour, and stays folded."""
    await think(page, backend)
    summary = fold(page).locator("summary")
    colour = "element => getComputedStyle(element).color"
    loud = await summary.evaluate(colour)
    await backend.say("A log.", at_ms=14_500)
    await expect_summary(page, "Thought for 12 s")
    await expect_answer(page, "A log.")
    assert await summary.evaluate(colour) != loud
    await expect(thought(page)).to_be_hidden()
    await backend.end(at_ms=60_000)
    await expect_progress(page, "Done.")
    await expect_summary(page, "Thought for 12 s")


async def test_what_is_unfolded_stays_so(page: Page, backend: FakeBackend) -> None:
    """The answer begins below it; a thought in its middle joins the others."""
    await think(page, backend)
    await unfold(page)
    await expect(thought(page)).to_have_text("First, second.")
    await backend.think(" Third.", at_ms=14_200)
    await expect(thought(page)).to_have_text("First, second. Third.")
    await backend.say("A log", at_ms=14_500)
    await expect_summary(page, "Thought for 12 s")
    await backend.think(" Fourth.", at_ms=20_000)
    await backend.say(" of entries.", at_ms=21_000)
    await backend.end(at_ms=22_000)
    await expect_progress(page, "Done.")
    await expect(thought(page)).to_have_text("First, second. Third. Fourth.")
    await expect_summary(page, "Thought for 12 s")
    await expect_answer(page, "A log of entries.")


async def test_a_thought_after_the_first_word_has_no_time(page: Page, backend: FakeBackend) -> None:
    """How long it took is not known, so it is not told."""
    await asked(page, backend)
    await backend.start()
    await backend.say("Let me see.")
    await backend.think("Hm.")
    await expect_summary(page, "Thought")


async def test_by_keyboard(page: Page, backend: FakeBackend) -> None:
    """Enter unfolds and folds; the thought itself is scrolled by keys; the focus stays."""
    await think(page, backend, LINE * 60)
    summary = fold(page).locator("summary")
    await tab_to(page, summary, "Shift+Tab")
    await page.keyboard.press("Enter")
    await expect(thought(page)).to_be_visible()
    await page.keyboard.press("Tab")
    await expect(thought(page)).to_be_focused()
    await page.keyboard.press("Home")
    await page.wait_for_function("() => document.activeElement.scrollTop === 0")
    await backend.say("Said.")
    await expect_answer(page, "Said.")
    await expect(thought(page)).to_be_focused()
    await page.keyboard.press("Shift+Tab")
    await page.keyboard.press("Space")
    await expect(thought(page)).to_be_hidden()
    await expect(summary).to_be_focused()


async def test_by_ear(page: Page, backend: FakeBackend) -> None:
    """That the model thinks is told once; of what it thinks, and of each second, nothing."""
    await page.evaluate(HEAR)
    await think(page, backend)
    await page.wait_for_function("() => heard.length === 1")
    await unfold(page)
    for number in range(20):
        await backend.think(f" {number}", at_ms=15_000 + number)
    await expect(thought(page)).to_have_text(re.compile(" 19$"))
    await expect(fold(page).locator("[data-thinking-time]")).to_have_attribute(
        "aria-hidden", "true"
    )
    await backend.say("Said.", at_ms=16_000)
    await page.wait_for_function("() => heard.length === 2")
    await expect(fold(page).locator("[data-thinking-time]")).to_have_attribute(
        "aria-hidden", "false"
    )
    await backend.end(at_ms=17_000)
    await page.wait_for_function("() => heard.length === 3")
    assert await page.evaluate("heard") == ["Thinking.", "Answering.", "Done: 1 word."]
    live = ":is([aria-live], [role=log], [role=status], [role=alert])"
    assert await page.locator(f"{live} [data-thought], {live}[data-thought]").count() == 0


async def test_a_thought_is_plain_text(page: Page, backend: FakeBackend) -> None:
    """Neither Markdown nor markup; its lines stay lines."""
    hostile = "1. **bold**\n\n  <img src=x onerror=\"document.title='owned'\">\n```\n`code`"
    await think(page, backend, hostile)
    await unfold(page)
    await expect(thought(page)).to_have_text(f"First, {hostile}")
    assert await thought(page).evaluate("element => element.innerText") == f"First, {hostile}"
    assert await thought(page).locator("*").count() == 0
    await expect(page).to_have_title("Curious about Redis?")


async def test_only_what_is_new_is_appended(page: Page, backend: FakeBackend) -> None:
    """While it is unfolded; folded, nothing is written, however much is thought."""
    await think(page, backend)
    await backend.think(LINE * 100)
    await backend.think("the end", at_ms=14_000)
    await expect_summary(page, TICKING)
    await expect(thought(page)).to_be_empty()
    await unfold(page)
    await expect(thought(page)).to_have_text(re.compile(r"^First, second\..*the end$", re.DOTALL))
    await page.evaluate("kept = document.querySelector('[data-thought]').firstChild")
    await backend.think(", and more", at_ms=14_000)
    await expect(thought(page)).to_have_text(re.compile("the end, and more$"))
    assert await page.evaluate("kept === document.querySelector('[data-thought]').firstChild")
    await fold(page).locator("summary").click()
    await expect(thought(page)).to_be_empty()


async def test_a_long_thought_scrolls_in_its_own_bounds(page: Page, backend: FakeBackend) -> None:
    """Its end is in sight while it is thought, until somebody scrolls up in it."""
    await think(page, backend, LINE * 200)
    await unfold(page)
    box = await thought(page).bounding_box()
    assert box is not None
    assert box["height"] <= 300
    at_end = (
        "() => { const { scrollHeight, scrollTop, clientHeight } ="
        " document.querySelector('[data-thought]');"
        " return scrollTop > 0 && scrollHeight - scrollTop - clientHeight < 2 }"
    )
    await page.wait_for_function(at_end)
    await backend.think(LINE * 20, at_ms=14_000)
    await page.wait_for_function(at_end)
    await thought(page).evaluate("element => element.scrollTo(0, 100)")
    await backend.think("the end", at_ms=14_000)
    await expect(thought(page)).to_have_text(re.compile("the end$"))
    assert await thought(page).evaluate("element => element.scrollTop") == 100


async def test_what_is_unfolded_with_room_is_followed_on(page: Page, backend: FakeBackend) -> None:
    """Where nothing has left the screen, the answer that grows below stays in sight."""
    await think(page, backend)
    await unfold(page)
    await backend.say(*["On and on.\n\n"] * 60, at_ms=14_500)
    await expect(answer(page)).to_have_text(re.compile(r"^(On and on\.\s*){60}$"))
    await expect(card(page).get_by_text("Answering …")).to_be_in_viewport()
    await expect(page.get_by_role("button", name="Jump to the end")).to_be_hidden()


async def test_what_is_touched_stays_where_it_is(page: Page, backend: FakeBackend) -> None:
    """A thought that is unfolded above its answer pushes the end out of sight, not itself."""
    await think(page, backend, LINE * 60)
    await backend.say(*["On and on.\n\n"] * 14, at_ms=14_500)
    await backend.end(at_ms=15_000)
    await expect_progress(page, "Done.")
    summary = fold(page).locator("summary")
    await expect(summary).to_be_in_viewport()
    place = await summary.bounding_box()
    await unfold(page)
    await expect(page.get_by_role("button", name="Jump to the end")).to_be_visible()
    assert await summary.bounding_box() == place


async def test_a_new_attempt_thinks_anew(page: Page, backend: FakeBackend) -> None:
    """What the first try thought goes with what it said."""
    await think(page, backend)
    await unfold(page)
    await backend.start(attempt=2, at_ms=20_000)
    await expect(fold(page)).to_be_hidden()
    await expect_progress(page, "The answer broke off. Starting again …")
    await backend.think("Again.", at_ms=21_000)
    await expect(thought(page)).to_have_text("Again.")
    await backend.say("Said.", at_ms=24_000)
    await expect_summary(page, "Thought for 3 s")


async def test_a_reload_in_the_middle_of_thinking(page: Page, backend: FakeBackend) -> None:
    """The thought is there again, its time goes on, and is the same for all who read it later."""
    question_id = await think(page, backend)
    await page.reload()
    assert await backend.heard("resumeQuestion") == {"questionId": question_id}
    await expect_summary(page, TICKING)
    await expect(thought(page)).to_be_hidden()
    await unfold(page)
    await expect(thought(page)).to_have_text("First, second.")
    await backend.think(" Third.", at_ms=30_000)
    await backend.say("Said.", at_ms=32_900)
    await backend.end(at_ms=33_000)
    await expect_summary(page, "Thought for 30 s")
    await expect(thought(page)).to_have_text("First, second. Third.")
    await page.reload()
    await expect_progress(page, "Done.")
    await expect_summary(page, "Thought for 30 s")
    await expect_answer(page, "Said.")


async def test_a_reconnect_in_the_middle_of_thinking(page: Page, backend: FakeBackend) -> None:
    """What was thought while the connection was down arrives, and nothing is there twice."""
    await think(page, backend)
    await unfold(page)
    backend.drop()
    await backend.think(" Third.", at_ms=14_000)
    assert (await backend.heard("resumeQuestion"))["after"] == "14000-2"
    await expect(thought(page)).to_have_text("First, second. Third.")
    await expect_connected(page)
    await expect_summary(page, TICKING)


async def test_nothing_is_counted_without_a_connection(page: Page, backend: FakeBackend) -> None:
    """Nobody knows whether the model still thinks: what is known is told."""
    await think(page, backend)
    await backend.leave()
    await expect_progress(page, "Interrupted. It goes on by itself once the server is back.")
    await expect_summary(page, "Thought for 12 s")
    await backend.listen()
    await expect_summary(page, TICKING)


async def test_an_answer_that_fails_while_thinking(page: Page, backend: FakeBackend) -> None:
    """What was thought stays, folded; there is no answer to copy."""
    await think(page, backend)
    await backend.end("failed", error=TIMEOUT, at_ms=32_000)
    await expect_progress(page, "No answer.")
    await expect(card(page).get_by_text(TIMEOUT_MESSAGE)).to_be_visible()
    await expect_summary(page, "Thought for 30 s")
    await expect(thought(page)).to_be_hidden()
    await expect(button(page, "Copy")).to_be_hidden()
    await unfold(page)
    await expect(thought(page)).to_have_text("First, second.")


async def test_an_answer_that_is_stopped_while_thinking(page: Page, backend: FakeBackend) -> None:
    """The same, after Stop; a reload shows it again."""
    await think(page, backend)
    await button(page, "Stop").click()
    await backend.heard("stopQuestion")
    await expect_progress(page, "Stopped.")
    await expect_summary(page, re.compile("^Thought for "))
    await page.reload()
    await expect_progress(page, "Stopped.")
    await unfold(page)
    await expect(thought(page)).to_have_text("First, second.")


async def test_copy_copies_the_answer_alone(page: Page, backend: FakeBackend) -> None:
    """Whoever passes an answer on does not pass on what was thought."""
    await think(page, backend)
    await unfold(page)
    await backend.say("A **log**.")
    await backend.end()
    await button(page, "Copy").click()
    await expect(button(page, "Copied")).to_be_visible()
    assert await page.evaluate("navigator.clipboard.readText()") == "A **log**."


async def test_what_it_cost_is_told_where_it_is_known(page: Page, backend: FakeBackend) -> None:
    """All tokens, of which kind they are on demand, and the model's name."""
    await think(page, backend)
    await backend.say("Said.")
    usage = {"inputTokens": 900, "outputTokens": 334, "reasoningTokens": 300}
    await backend.end(usage=usage, model="gpt-6-luna-2026-09-01")
    tokens = card(page).locator("[data-tokens]")
    await expect(tokens.locator("dd")).to_have_text("1,234")
    await expect(tokens).to_have_attribute("title", "900 in, 334 out, 300 thought")
    await expect(card(page).locator("[data-model] dd")).to_have_text("gpt-6-luna-2026-09-01")


async def test_on_a_phone(page: Page, backend: FakeBackend) -> None:
    """Nothing is wider than it; the line fits a finger, and stays in sight when it is touched."""
    await page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
    await think(page, backend, "x" * 2_000, LINE * 40, "語" * 500)
    summary = fold(page).locator("summary")
    await unfold(page)
    await expect(summary).to_be_in_viewport()
    box = await summary.bounding_box()
    assert box is not None
    assert box["height"] >= 34
    await backend.say("Said.")
    await backend.end(usage={"inputTokens": 900, "outputTokens": 334}, model="m" * 100)
    await expect_progress(page, "Done.")
    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


async def test_two_models_think_at_once(page: Page, backend: FakeBackend) -> None:
    """Each card has its own thought and its own time."""
    one = await asked(page, backend, "One?")
    two = await asked(page, backend, "Two?")
    for of, end_ms in ((one, 5_000), (two, 9_000)):
        await backend.start(of=of, at_ms=1_000)
        await backend.think(f"Of {of}.", of=of, at_ms=2_000)
        await backend.say("Said.", of=of, at_ms=end_ms)
    for of, question, time in ((one, "One?", "3 s"), (two, "Two?", "7 s")):
        summary = fold(page, question).locator("summary")
        await expect(summary).to_have_text(f"Thought for {time}")
        await summary.click()
        await expect(thought(page, question)).to_have_text(f"Of {of}.")
        await expect(answer(page, question)).to_have_text("Said.")


@pytest.fixture(scope="module")
def axe() -> str:
    """axe-core's script; skips, with the reason, where it is not installed."""
    need_clients()
    return Path(AXE).read_text("utf-8")


async def test_axe_has_no_objection(page: Page, backend: FakeBackend, axe: str) -> None:
    """Folded and unfolded, while it is thought and afterwards; light and dark, small and wide."""
    one = await think(page, backend, LINE * 60)
    await asked(page, backend, "Two?")
    await backend.start()
    await backend.think("Hm.")
    await expect(fold(page, "Two?")).to_be_visible()
    await unfold(page)
    assert await violations(page, axe) == []
    await backend.end("failed", error=TIMEOUT)
    await backend.say("Said.", of=one, at_ms=14_000)
    await backend.end(of=one, usage={"outputTokens": 9}, model="gpt-6-luna")
    await expect_progress(page, "Done.")
    await expect_progress(page, "No answer.", "Two?")
    assert await violations(page, axe) == []
