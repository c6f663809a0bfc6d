"""The page in a real browser: against a backend that is told what to say, and against the demo."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, Route, expect

from backend.server.static_page import socket_io_client_file, socket_io_client_url
from tests.e2e.pages import (
    QUESTION,
    TIMEOUT,
    TIMEOUT_MESSAGE,
    answer,
    ask,
    asked,
    button,
    card,
    expect_answer,
    expect_connected,
    expect_progress,
    opened_context,
)
from tests.fakes.fake_backend import FakeBackend

pytestmark = pytest.mark.asyncio(loop_scope="session")

LOCAL_CLIENT = "**/node_modules/socket.io-client/**"


async def test_shows_an_answer_as_it_is_written(page: Page, backend: FakeBackend) -> None:
    """The topic and the question arrive; each piece stands there before the next is sent."""
    await ask(page, f"{QUESTION}\nIn short.")
    payload = await backend.heard("askQuestion")
    assert payload["topic"] == "Redis"
    assert payload["topicQuestion"] == f"{QUESTION}\nIn short."
    await expect_progress(page, "Waiting for the first word …")
    await backend.start()
    await backend.say("A log")
    await expect_answer(page, "A log")
    await expect_progress(page, "Answering …")
    await backend.say(" of entries,", " in order.")
    await expect_answer(page, "A log of entries, in order.")
    await backend.end()
    await expect_progress(page, "Done.")
    for time in ("first", "total"):
        shown = card(page).locator(f"[data-{time}] dd")
        await expect(shown).to_have_text(re.compile(r"^\d+\.\d\d s$"))
    await expect(page.get_by_label("Your question")).to_be_focused()
    await expect(page.get_by_label("Your question")).to_have_value("")


async def test_tells_the_pace_of_an_answer(page: Page, backend: FakeBackend) -> None:
    """Pieces per second are those of the clock that wrote them, however fast they arrive."""
    await asked(page, backend)
    await backend.start(at_ms=1_000)
    for number in range(11):
        await backend.say("word ", at_ms=2_000 + 50 * number)
    await expect(card(page).locator("[data-rate] dd")).to_have_text("20/s")
    await backend.end()


async def test_shift_enter_starts_a_line(page: Page, backend: FakeBackend) -> None:
    """Only Enter alone asks, and nothing is asked without words."""
    question = page.get_by_label("Your question")
    await question.press("Enter")
    await question.press_sequentially("one")
    await question.press("Shift+Enter")
    await question.press_sequentially("two")
    await expect(question).to_have_value("one\ntwo")
    assert not backend.has_heard("askQuestion")
    await page.get_by_label("Topic").fill("Valkey")
    await expect(page).to_have_title("Curious about Valkey?")
    await page.get_by_role("button", name="Ask").click()
    assert (await backend.heard("askQuestion"))["topic"] == "Valkey"


async def test_an_enter_of_an_input_method_asks_nothing(page: Page, backend: FakeBackend) -> None:
    """Whoever picks a word with Enter has not finished the question."""
    question = page.get_by_label("Your question")
    await question.fill("ストリーム")
    for composing in ({"isComposing": True}, {"keyCode": 229}):
        await question.dispatch_event("keydown", {"key": "Enter", "bubbles": True, **composing})
    await expect(question).to_have_value("ストリーム")
    await question.press("Enter")
    assert (await backend.heard("askQuestion"))["topicQuestion"] == "ストリーム"
    assert not backend.has_heard("askQuestion")


async def test_markup_in_a_question_stays_text(page: Page, backend: FakeBackend) -> None:
    """What a person types is never markup, wherever it is shown."""
    hostile = "<img src=x onerror=\"document.title='owned'\"><b>markup?</b>"
    await asked(page, backend, hostile)
    await expect(card(page, hostile).get_by_role("heading", level=2)).to_have_text(hostile)
    await expect(page.locator("img, b")).to_have_count(0)
    await expect(page).to_have_title("Curious about Redis?")


async def test_a_long_question_is_told_in_full_on_request(page: Page, backend: FakeBackend) -> None:
    """Its first line stands above the answer; the rest unfolds."""
    await asked(page, backend, f"{QUESTION}\n{'And why? ' * 50}")
    await expect(page.get_by_role("heading", level=2, name=QUESTION)).to_have_text(QUESTION)
    await card(page).get_by_text("The whole question").click()
    await expect(card(page).get_by_text("And why? And why?")).to_be_visible()


async def test_a_failure_is_told_in_words(page: Page, backend: FakeBackend) -> None:
    """What was said stays, and the reason is told; Retry asks anew in the same place."""
    first = await asked(page, backend)
    await backend.start()
    await backend.say("Well,")
    await backend.end("failed", error=TIMEOUT)
    await expect(card(page).get_by_text(TIMEOUT_MESSAGE)).to_be_visible()
    await expect_answer(page, "Well,")
    await expect_progress(page, "Broken off.")
    await button(page, "Retry").click()
    again = await backend.heard("askQuestion")
    assert again["topicQuestion"] == QUESTION
    assert again["questionId"] != first
    await expect(card(page)).to_have_count(1)
    await expect(card(page)).to_be_focused()
    await backend.answer("Better.")
    await expect_answer(page, "Better.")
    await expect(card(page).get_by_text(TIMEOUT_MESSAGE)).to_be_hidden()


async def test_retry_is_offered_only_where_it_may_help(page: Page, backend: FakeBackend) -> None:
    """A refusal for good says why; the words go back into the form, to be mended there."""
    backend.refusal = {"code": "invalid_request", "message": "Too long.", "retryable": False}
    await ask(page)
    await expect(card(page).get_by_text("Too long.")).to_be_visible()
    await expect_progress(page, "No answer.")
    for name in ("Retry", "Ask again"):
        await expect(button(page, name)).to_be_hidden()
    await button(page, "Edit").click()
    await expect(page.get_by_label("Your question")).to_be_focused()
    await expect(page.get_by_label("Your question")).to_have_value(QUESTION)


async def test_a_cut_answer_says_so(page: Page, backend: FakeBackend) -> None:
    """An answer that reached the model's limit does not look whole."""
    await asked(page, backend)
    await backend.start()
    await backend.say("So")
    await backend.end(finishReason="length")
    await expect_progress(page, "Cut off: the answer reached the model's limit.")


async def test_a_question_in_the_queue_says_so(page: Page, backend: FakeBackend) -> None:
    """Waiting for a worker is not waiting for a word."""
    backend.queues = True
    await asked(page, backend)
    await expect_progress(page, "In the queue …")
    await backend.start()
    await expect_progress(page, "Waiting for the first word …")


async def test_stop_keeps_what_was_said(page: Page, backend: FakeBackend) -> None:
    """Stop is there while an answer runs; the server hears of it and has the last word."""
    question_id = await asked(page, backend)
    await backend.start()
    await backend.say("On and on")
    await expect_answer(page, "On and on")
    await button(page, "Stop").click()
    assert await backend.heard("stopQuestion") == {"questionId": question_id}
    await expect_progress(page, "Stopped.")
    await expect_answer(page, "On and on")
    await expect(button(page, "Stop")).to_be_hidden()


async def test_nothing_moves_under_a_finger(
    context: BrowserContext, site: str, backend: FakeBackend
) -> None:
    """Stop is where it was pressed when it is let go, whatever was said meanwhile."""
    page = await context.new_page()
    frames: asyncio.Queue[str | bytes] = asyncio.Queue()
    page.on("websocket", lambda socket: socket.on("framereceived", frames.put_nowait))
    await page.goto(f"{site}?backend={backend.url}")
    await expect_connected(page)
    question_id = await asked(page, backend)
    await backend.start()
    await backend.say("On and on")
    await expect_answer(page, "On and on")
    await button(page, "Stop").hover()
    place = await button(page, "Stop").bounding_box()
    await page.mouse.down()
    await backend.say("\n\nand on" * 20, "\n\nto the end.")
    async with asyncio.timeout(10):
        while "to the end." not in str(await frames.get()):
            pass
    await page.evaluate("() => new Promise(seen => requestAnimationFrame(() => setTimeout(seen)))")
    assert await button(page, "Stop").bounding_box() == place
    await page.mouse.up()
    assert await backend.heard("stopQuestion") == {"questionId": question_id}
    await expect_progress(page, "Stopped.")
    await expect(answer(page)).to_contain_text("to the end.")


async def test_without_stream(page: Page, backend: FakeBackend) -> None:
    """The whole answer comes at once, by POST; its failure is told in words."""
    await page.get_by_label("Without stream").check()
    await ask(page)
    payload = await backend.heard("POST")
    assert (payload["topic"], payload["topicQuestion"]) == ("Redis", QUESTION)
    await expect_answer(page, "The whole answer.")
    await expect_progress(page, "Done.")
    backend.post_status = 500
    backend.posted = {"error": {"code": "model_error", "message": "It broke.", "retryable": True}}
    await ask(page, "And now?")
    await expect(card(page, "And now?").get_by_text("It broke.")).to_be_visible()
    assert not backend.has_heard("askQuestion")


async def test_a_client_from_the_cdn_is_checked(
    context: BrowserContext, site: str, backend: FakeBackend
) -> None:
    """Without npm the CDN's copy is loaded, under an integrity hash and the same policy."""
    page = await context.new_page()
    await page.route(LOCAL_CLIENT, lambda route: route.abort())
    await page.route(
        socket_io_client_url("socket.io.min.js"),
        lambda route: serve_script(route, socket_io_client_file("socket.io.min.js")),
    )
    await page.goto(f"{site}?backend={backend.url}")
    await expect_connected(page)
    script = page.locator("script[src^='https:']")
    await expect(script).to_have_attribute("integrity", re.compile(r"^sha384-[\w+/]{64}$"))
    await expect(script).to_have_attribute("crossorigin", "anonymous")


async def test_a_forged_client_is_not_run(
    context: BrowserContext, site: str, backend: FakeBackend
) -> None:
    """A CDN copy with other bytes is refused; answers in one go still work."""
    page = await context.new_page()
    await page.route(LOCAL_CLIENT, lambda route: route.abort())
    await page.route("https://**", serve_script)
    await page.goto(f"{site}?backend={backend.url}")
    await expect(page.get_by_role("alert")).to_contain_text("could not be loaded")
    await expect(page).to_have_title("Curious about Redis?")
    await page.get_by_label("Without stream").check()
    await ask(page)
    await expect_answer(page, "The whole answer.")


async def serve_script(route: Route, path: Path | None = None) -> None:
    """Answer like the CDN: with that file, or with a forgery."""
    await route.fulfill(
        path=path,
        body=None if path else "document.title = 'owned'",
        content_type="application/javascript",
        headers={"Access-Control-Allow-Origin": "*"},
    )


async def test_a_wrong_backend_address_is_told(context: BrowserContext, site: str) -> None:
    """An address that is no http(s) one is refused in words, and asking leaves the page."""
    page = await context.new_page()
    await page.goto(f"{site}?backend=javascript:alert(1)")
    await expect(page.get_by_role("alert")).to_contain_text("has to start with http")
    await ask(page)
    assert page.url == f"{site}?backend=javascript:alert(1)"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def demo(installed: None) -> AsyncIterator[str]:
    """The address of the demo's page, which knows its backend's port."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "backend", "--demo", "--port", "0", "--frontend-port", "0"),
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield await page_address(process)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


class TestAgainstTheDemo:
    """The page and the real backend, as `python -m backend --demo` starts them."""

    async def test_answers_survive_a_reload(self, context: BrowserContext, demo: str) -> None:
        """An answer is streamed, the page reloaded within it, and all of it is there, once."""
        page = await context.new_page()
        await page.goto(demo)
        await expect_connected(page)
        await ask(page)
        await expect(answer(page)).to_contain_text(f"You asked: {QUESTION}")
        await page.reload()
        await expect(answer(page)).to_contain_text(f"You asked: {QUESTION}")
        await expect_progress(page, "Done.")
        text = (await answer(page).text_content() or "").strip()
        assert text.startswith("This is a demo:")
        assert text.endswith("without --demo.")
        assert text.count("You asked:") == 1

    async def test_stop_ends_the_answer(
        self, browser: Browser, context: BrowserContext, demo: str
    ) -> None:
        """Stop is heard by the worker; what was said stays, for whoever gets the link, too."""
        page = await context.new_page()
        await page.goto(demo)
        await ask(page)
        await expect(answer(page)).to_contain_text("This is")
        await button(page, "Stop").click()
        await expect_progress(page, "Stopped.")
        said = await answer(page).text_content() or ""
        assert said.strip().startswith("This is")
        link = await page.get_by_role("navigation").get_by_role("link").get_attribute("href")
        async with opened_context(browser) as elsewhere:
            reader = await elsewhere.new_page()
            await reader.goto(link or "")
            await expect(reader.get_by_role("log")).to_have_text(said)
            await expect(reader.get_by_text("Stopped.", exact=True)).to_be_visible()


async def page_address(process: asyncio.subprocess.Process) -> str:
    """Read what the demo prints until it says where its page is."""
    assert process.stdout is not None
    async with asyncio.timeout(20):
        async for line in process.stdout:
            if found := re.search(rb"Page: +(http://\S+)", line):
                return found[1].decode()
    raise AssertionError("the demo ended without a page")
