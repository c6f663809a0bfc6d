"""The list of earlier questions, and links that others can open."""

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, Request, expect

from tests.e2e.pages import (
    PHONE,
    QUESTION,
    TIMEOUT,
    WIDE,
    answer,
    asked,
    button,
    card,
    earlier,
    expect_answer,
    expect_connected,
    expect_progress,
    open_page,
    opened_context,
)
from tests.fakes.fake_backend import FakeBackend

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """A profile with room for the list beside the page, that may use the clipboard."""
    permissions = ["clipboard-read", "clipboard-write"]
    async with opened_context(browser, viewport=WIDE, permissions=permissions) as context:
        yield context


async def test_lists_questions_with_their_state(page: Page, backend: FakeBackend) -> None:
    """The newest stands first; how each went is told."""
    await asked(page, backend, "One?")
    await backend.answer("a")
    await asked(page, backend, "Two?")
    await backend.start()
    await backend.end("failed", error=TIMEOUT)
    await asked(page, backend, "Three?")
    entries = earlier(page).get_by_role("listitem")
    await expect(entries).to_have_text(
        [
            re.compile("Three.*not finished", re.DOTALL),
            re.compile("Two.*failed", re.DOTALL),
            re.compile("One.*Redis · [^·]+$", re.DOTALL),
        ]
    )


async def test_opens_an_answer_again(page: Page, backend: FakeBackend) -> None:
    """A closed question is read from the server again, and gets the focus."""
    question_id = await asked(page, backend)
    await backend.answer("Said", " once.")
    await expect_progress(page, "Done.")
    total = await card(page).locator("[data-total] dd").text_content()
    await button(page, "Close").click()
    await earlier(page).get_by_role("link", name=QUESTION).click()
    assert await backend.heard("resumeQuestion") == {"questionId": question_id}
    await expect_answer(page, "Said once.")
    await expect(card(page)).to_be_focused()
    await expect(card(page).locator("[data-total] dd")).to_have_text(total or "")
    await earlier(page).get_by_role("link", name=QUESTION).click()
    await expect(card(page)).to_have_count(1)


async def test_an_answer_is_read_from_its_beginning(page: Page, backend: FakeBackend) -> None:
    """What is opened again does not rush past: its first words are in sight, not its last."""
    await asked(page, backend)
    await backend.answer(*["All work and no play makes Jack a dull boy.\n\n"] * 80)
    await expect_progress(page, "Done.")
    await button(page, "Close").click()
    await earlier(page).get_by_role("link", name=QUESTION).click()
    await expect(page.get_by_role("button", name="Jump to the end")).to_be_visible()
    await expect(card(page).get_by_role("heading", level=2)).to_be_in_viewport()


async def test_an_answer_that_is_gone_says_so_on_the_list(page: Page, backend: FakeBackend) -> None:
    """After its time an answer is no longer stored, which is told where it was asked for."""
    await asked(page, backend)
    await backend.answer("Said.")
    await expect_progress(page, "Done.")
    await button(page, "Close").click()
    backend.stores = False
    await earlier(page).get_by_role("link", name=QUESTION).click()
    await expect_progress(page, "No longer stored.")
    await expect(earlier(page).get_by_role("listitem")).to_contain_text("no longer stored")


async def test_removing_takes_a_question_off_the_list_alone(
    page: Page, backend: FakeBackend
) -> None:
    """Its card stays and goes on; it does not come back with the next word, nor with a reload."""
    await asked(page, backend, "One?")
    await backend.answer("a")
    await asked(page, backend, "Two?")
    await backend.start()
    entries = earlier(page).get_by_role("listitem")
    await expect(entries).to_have_count(2)
    await earlier(page).get_by_role("button", name="Remove “Two?”").click()
    await expect(entries).to_have_count(1)
    await expect(earlier(page).get_by_role("button", name="Remove “One?”")).to_be_focused()
    await backend.say("b")
    await expect_answer(page, "b", "Two?")
    await page.reload()
    await expect_answer(page, "b", "Two?")
    await expect(entries).to_have_count(1)
    await earlier(page).get_by_role("button", name="Remove “One?”").click()
    await expect(earlier(page)).to_be_hidden()
    await expect(page.get_by_label("Your question")).to_be_focused()


async def test_two_tabs_share_the_list(
    context: BrowserContext, page: Page, site: str, backend: FakeBackend
) -> None:
    """What is asked, ends or is removed in one tab shows in the other; neither loses anything."""
    other = await open_page(context, site, backend)
    first = await asked(page, backend, "One?")
    await asked(other, backend, "Two?")
    for tab in (page, other):
        await expect(earlier(tab).get_by_role("link")).to_have_text(["Two?", "One?"])
    await backend.start(of=first)
    await backend.end(of=first)
    await expect(earlier(other).get_by_text("not finished")).to_have_count(1)
    await earlier(other).get_by_role("button", name="Remove “One?”").click()
    await expect(earlier(page).get_by_role("link")).to_have_text(["Two?"])
    await expect(card(page, "Two?")).to_have_count(0)


async def test_two_tabs_can_follow_one_answer(
    context: BrowserContext, page: Page, site: str, backend: FakeBackend
) -> None:
    """A running answer that is opened from the list goes on in both tabs."""
    await asked(page, backend)
    await backend.start()
    await backend.say("One,")
    other = await open_page(context, site, backend)
    await earlier(other).get_by_role("link", name=QUESTION).click()
    await expect_answer(other, "One,")
    await backend.say(" two.")
    await backend.end()
    for tab in (page, other):
        await expect_answer(tab, "One, two.")


async def test_a_list_that_storage_forbids_does_no_harm(
    context: BrowserContext, site: str, backend: FakeBackend
) -> None:
    """Where the browser keeps nothing, questions are asked and answered all the same."""
    await context.add_init_script(
        "for (const name of ['localStorage', 'sessionStorage'])"
        " Object.defineProperty(window, name, { get() { throw new Error('forbidden') } })"
    )
    page = await open_page(context, site, backend)
    await asked(page, backend)
    await backend.answer("Said.")
    await expect_answer(page, "Said.")
    await expect(earlier(page)).to_be_hidden()


@pytest.mark.parametrize("tells", [True, False])
async def test_a_link_opens_in_any_browser(
    page: Page, browser: Browser, backend: FakeBackend, tells: bool
) -> None:
    """Somebody else reads the running answer to its end; they are not offered to stop it."""
    backend.tells = tells
    await asked(page, backend)
    await backend.start()
    await backend.say("One,")
    await button(page, "Copy link").click()
    await expect(button(page, "Copied")).to_be_visible()
    link = await page.evaluate("navigator.clipboard.readText()")
    heading = QUESTION if tells else "A shared answer"
    async with opened_context(browser) as elsewhere:
        reader = await elsewhere.new_page()
        await reader.goto(link)
        await expect(answer(reader, heading)).to_have_text("One,")
        await expect(button(reader, "Stop", heading)).to_be_hidden()
        await backend.say(" two.")
        await backend.end()
        await expect(answer(reader, heading)).to_have_text("One, two.")
        await expect(button(reader, "Ask again", heading)).to_be_visible(visible=tells)
        await reader.reload()
        await expect(answer(reader, heading)).to_have_text("One, two.")
        await button(reader, "Close", heading).click()
        assert "#" not in reader.url


async def test_an_id_does_not_leave_the_browser(
    page: Page, browser: Browser, site: str, backend: FakeBackend
) -> None:
    """No request names the linked question, neither in its address nor as a referrer."""
    question_id = await asked(page, backend)
    await backend.answer("Said.")
    async with opened_context(browser) as elsewhere:
        requests: list[Request] = []
        elsewhere.on("request", lambda request: requests.append(request))
        reader = await elsewhere.new_page()
        await reader.goto(f"{site}?backend={backend.url}#q={question_id}")
        await expect(answer(reader, "A shared answer")).to_have_text("Said.")
        # Of the document Playwright tells the fragment, which browsers do not send.
        assert [request.url for request in requests[1:] if question_id in request.url] == []
        assert [request.url for request in requests if request.headers.get("referer")] == []


async def test_a_link_to_nothing_says_so(
    context: BrowserContext, site: str, backend: FakeBackend
) -> None:
    """An answer that is gone, or never was, is told in words and not listed."""
    page = await context.new_page()
    gone = "0a1b2c3d-1111-4222-8333-444455556666"
    await page.goto(f"{site}?backend={backend.url}#q={gone}")
    await expect_progress(page, "No longer stored.", "A shared answer")
    await expect(earlier(page)).to_be_hidden()


async def test_a_link_can_be_followed_within_the_page(page: Page, backend: FakeBackend) -> None:
    """A link that is pasted into the address bar of an open page opens there."""
    question_id = await asked(page, backend)
    await backend.answer("Said.")
    await expect_progress(page, "Done.")
    await button(page, "Close").click()
    await expect(card(page)).to_have_count(0)
    await page.evaluate("id => { location.hash = `q=${id}` }", question_id)
    await expect_answer(page, "Said.")


async def test_copies_the_answer_as_it_was_written(page: Page, backend: FakeBackend) -> None:
    """The clipboard gets the source, every character of it."""
    source = "# Streams\n\n* one\n* **two**\n\n```sh\nredis-cli  ping\n```\n"
    await asked(page, backend)
    await backend.answer(*source)
    await expect_progress(page, "Done.")
    await button(page, "Copy").click()
    await expect(button(page, "Copied")).to_be_visible()
    assert await page.evaluate("navigator.clipboard.readText()") == source


async def test_without_a_clipboard_there_is_a_link(
    context: BrowserContext, site: str, backend: FakeBackend
) -> None:
    """Where browsers offer no clipboard, as on plain http, nothing pretends to copy."""
    await context.add_init_script("delete Navigator.prototype.clipboard")
    page = await open_page(context, site, backend)
    question_id = await asked(page, backend)
    await backend.answer("Said.")
    await expect_progress(page, "Done.")
    for name in ("Copy", "Copy link"):
        await expect(button(page, name)).to_be_hidden()
    link = card(page).get_by_role("link", name="Link")
    await expect(link).to_have_attribute("href", f"{site}?backend={backend.url}#q={question_id}")


async def test_on_a_phone_the_list_lies_over_the_page(page: Page, backend: FakeBackend) -> None:
    """It opens by its button; Escape closes it, and the focus is back where it was."""
    await page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
    await asked(page, backend)
    await backend.answer("Said.")
    toggle = page.get_by_role("button", name="Earlier questions")
    await expect(earlier(page)).to_be_hidden()
    await toggle.click()
    await expect(earlier(page).get_by_role("heading")).to_be_focused()
    await expect(page.get_by_label("Your question")).not_to_be_focused()
    await page.keyboard.press("Escape")
    await expect(earlier(page)).to_be_hidden()
    await expect(toggle).to_be_focused()
    await toggle.click()
    await earlier(page).get_by_role("link", name=QUESTION).click()
    await expect(earlier(page)).to_be_hidden()
    await expect(card(page)).to_be_focused()
    await expect_connected(page)
