"""Reading while an answer grows: the view follows the words, and lets go of whoever scrolls up."""

import pytest
from playwright.async_api import Page, expect

from tests.e2e.pages import (
    PHONE,
    QUESTION,
    asked,
    card,
    expect_answer,
    expect_progress,
)
from tests.fakes.fake_backend import FakeBackend

pytestmark = pytest.mark.asyncio(loop_scope="session")

PARAGRAPH = "All work and no play makes Jack a dull boy.\n\n"
AT_END = "() => document.documentElement.scrollHeight - scrollY - innerHeight < 2 && scrollY > 0"


async def read_long_answer(page: Page, backend: FakeBackend, paragraphs: int = 60) -> None:
    """Ask, and have more said than fits on the screen."""
    await asked(page, backend)
    await backend.start()
    await backend.say(*[PARAGRAPH] * paragraphs)
    await expect_answer(page, PARAGRAPH * paragraphs)


async def test_the_end_stays_in_sight(page: Page, backend: FakeBackend) -> None:
    """The page follows what is said, and the state below it."""
    await read_long_answer(page, backend)
    await page.wait_for_function(AT_END)
    await backend.say(*[PARAGRAPH] * 10)
    await expect_answer(page, PARAGRAPH * 70)
    await page.wait_for_function(AT_END)
    await expect(page.get_by_role("button", name="Jump to the end")).to_be_hidden()
    await expect(card(page).get_by_text("Answering …")).to_be_in_viewport()


async def test_whoever_scrolls_up_is_left_in_peace(page: Page, backend: FakeBackend) -> None:
    """The text stays where it is, and a button leads back to the end."""
    jump = page.get_by_role("button", name="Jump to the end")
    await read_long_answer(page, backend)
    await page.mouse.move(300, 200)
    await page.mouse.wheel(0, -600)
    await expect(jump).to_be_visible()
    place = await page.evaluate("scrollY")
    await backend.say(*[PARAGRAPH] * 10)
    await expect_answer(page, PARAGRAPH * 70)
    assert await page.evaluate("scrollY") == place
    await jump.click()
    await page.wait_for_function(AT_END)
    await expect(jump).to_be_hidden()
    await expect(card(page)).to_be_focused()
    await backend.say(*[PARAGRAPH] * 10)
    await expect_answer(page, PARAGRAPH * 80)
    await page.wait_for_function(AT_END)


async def test_whoever_scrolls_back_down_follows_again(page: Page, backend: FakeBackend) -> None:
    """The end is followed as soon as it is reached by hand."""
    await read_long_answer(page, backend)
    await page.keyboard.press("Shift+Tab")
    await page.evaluate("scrollBy(0, -500)")
    await expect(page.get_by_role("button", name="Jump to the end")).to_be_visible()
    await page.evaluate("scrollBy(0, 500)")
    await expect(page.get_by_role("button", name="Jump to the end")).to_be_hidden()
    await backend.say(*[PARAGRAPH] * 10)
    await expect_answer(page, PARAGRAPH * 70)
    await page.wait_for_function(AT_END)


async def test_marked_text_does_not_run_away(page: Page, backend: FakeBackend) -> None:
    """While something is marked the page stands still."""
    await read_long_answer(page, backend)
    await page.wait_for_function(AT_END)
    await page.evaluate("getSelection().selectAllChildren(document.querySelector('.card h2'))")
    place = await page.evaluate("scrollY")
    await backend.say(*[PARAGRAPH] * 10)
    await expect(page.get_by_role("button", name="Jump to the end")).to_be_visible()
    assert await page.evaluate("scrollY") == place


async def test_a_new_question_comes_into_sight(page: Page, backend: FakeBackend) -> None:
    """Whoever asks has read enough of what stands above."""
    await read_long_answer(page, backend)
    await page.evaluate("scrollTo(0, 0)")
    await asked(page, backend, "Two?")
    await expect(card(page, "Two?")).to_be_in_viewport()
    await page.wait_for_function(AT_END)


async def test_only_what_is_new_is_touched(page: Page, backend: FakeBackend) -> None:
    """What stands on the page is not built again with each piece."""
    await asked(page, backend)
    await backend.start()
    await backend.say("The first paragraph.\n\nThe second ")
    await expect_answer(page, "The first paragraph. The second")
    await page.evaluate("kept = document.querySelector('[data-text]').firstChild")
    await backend.say("one.\n\nThe third.")
    await expect_answer(page, "The first paragraph. The second one. The third.")
    assert await page.evaluate("kept === document.querySelector('[data-text]').firstChild")


async def test_nothing_is_wider_than_a_phone(page: Page, backend: FakeBackend) -> None:
    """Not even words without end; what is to be touched fits a finger."""
    await page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
    endless = "q" * 400
    await page.get_by_label("Topic").fill("t" * 200)
    await asked(page, backend, endless)
    await backend.start()
    await backend.say("x" * 2_000, "\n\n", "語" * 500, "\n\n", "🙂" * 300)
    await expect(page.get_by_role("log")).to_contain_text("🙂")
    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    for name in ("Ask", "Stop"):
        box = await page.get_by_role("button", name=name, exact=True).bounding_box()
        assert box is not None
        assert box["height"] >= 36
        assert box["x"] + box["width"] <= PHONE["width"]


async def test_words_run_in_their_own_direction(page: Page, backend: FakeBackend) -> None:
    """A question and an answer in Hebrew begin at the right edge, on an English page."""
    question = "מה זה זרם?"
    await asked(page, backend, question)
    await backend.answer("זרם הוא יומן.")
    await expect_progress(page, "Done.", question)
    right_edge = (
        "element => { const range = document.createRange(); range.selectNodeContents(element);"
        " return element.getBoundingClientRect().right - range.getBoundingClientRect().right }"
    )
    heading = card(page, question).get_by_role("heading")
    words = card(page, question).get_by_text("זרם הוא יומן.")
    assert abs(await heading.evaluate(right_edge)) < 2
    assert abs(await words.evaluate(right_edge)) < 2
    assert QUESTION not in await page.inner_text("main")
