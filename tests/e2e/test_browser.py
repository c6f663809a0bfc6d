"""The page in a real browser: against a backend that is told what to say, and against the demo."""

import asyncio
import re
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Route,
    async_playwright,
    expect,
)

from backend.page import create_page, socket_io_client_file, socket_io_client_url
from tests.fakes.fake_backend import FakeBackend

# One browser for all: it takes longer to start than most tests to run.
pytestmark = pytest.mark.asyncio(loop_scope="module")

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE = {"width": 360, "height": 640}
LOCAL_CLIENT = "**/node_modules/**"


@pytest.fixture(scope="module")
def installed() -> None:
    """Skips, with the reason, where a browser or the client is missing."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    if socket_io_client_file("socket.io.esm.min.js") is None:
        pytest.skip("socket.io-client is not installed: run `npm ci` in frontend/")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(installed: None) -> AsyncIterator[Browser]:
    """Chromium, started once."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=CHROMIUM_ARGS, timeout=30_000
        )
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(installed: None) -> AsyncIterator[str]:
    """The page's own origin, as the backend serves it."""
    runner = web.AppRunner(create_page(), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    await runner.cleanup()


@pytest_asyncio.fixture(loop_scope="module")
async def backend() -> AsyncIterator[FakeBackend]:
    """A backend that speaks the contract."""
    async with FakeBackend().serving() as backend:
        yield backend


@pytest_asyncio.fixture(loop_scope="module")
async def plain_backend() -> AsyncIterator[FakeBackend]:
    """A backend like the Node original."""
    async with FakeBackend(plain=True).serving() as backend:
        yield backend


@asynccontextmanager
async def opened_context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """A profile of its own, in which no script fails and nothing breaks the policy."""
    context = await browser.new_context(reduced_motion="reduce")
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


@pytest_asyncio.fixture(loop_scope="module")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """A fresh browser profile."""
    async with opened_context(browser) as context:
        yield context


@pytest_asyncio.fixture(loop_scope="module")
async def page(context: BrowserContext, site: str, backend: FakeBackend) -> Page:
    """The page, connected to the backend that is told what to say."""
    page = await context.new_page()
    await page.goto(f"{site}?backend={backend.url}")
    await expect_connected(page)
    return page


async def expect_connected(page: Page) -> None:
    """Wait until the page says that it is connected."""
    await expect(page.get_by_text("Connected", exact=True)).to_be_visible()


async def ask(page: Page, question: str = "What is a stream?") -> None:
    """Type a question and press Enter."""
    await page.get_by_label("Your question").fill(question)
    await page.get_by_label("Your question").press("Enter")


async def expect_answer(page: Page, text: str) -> None:
    """Wait until exactly this stands in the answer."""
    await expect(page.get_by_role("log")).to_have_js_property("textContent", text)


async def expect_progress(page: Page, words: str | re.Pattern[str]) -> None:
    """Wait until the status says this."""
    await expect(page.locator("[data-progress]")).to_have_text(words)


async def test_shows_an_answer_as_it_is_written(page: Page, backend: FakeBackend) -> None:
    """The topic and the question arrive; each piece stands there before the next is sent."""
    await ask(page, "What is a stream?\nIn short.")
    asked = await backend.heard("askQuestion")
    assert asked["topic"] == "Redis"
    assert asked["topicQuestion"] == "What is a stream?\nIn short."
    await expect_progress(page, "Waiting for the first words …")
    await expect(page.locator(".spinner")).to_be_visible()
    await backend.start()
    await backend.say("A log")
    await expect_answer(page, "A log")
    await expect(page.locator(".spinner")).to_be_hidden()
    await expect_progress(page, "Answering …")
    await backend.say(" of entries,\n", "in order.")
    await expect_answer(page, "A log of entries,\nin order.")
    await backend.end()
    await expect_progress(page, "Done.")
    for time in ("first", "total"):
        await expect(page.locator(f"[data-{time}]")).to_have_text(re.compile(r"^\d+\.\d\d s$"))
    await expect(page.get_by_label("Your question")).to_be_focused()


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


async def test_markup_in_an_answer_stays_text(page: Page, backend: FakeBackend) -> None:
    """The model's words are never markup, whatever they look like."""
    hostile = [
        "<img src=x onerror=\"document.title='owned'\">",
        "<script>document.title='owned'</script>",
        "<b>&amp;</b>",
    ]
    await ask(page, "<i>markup?</i>")
    await backend.heard("askQuestion")
    await backend.answer(*hostile)
    await expect_answer(page, "".join(hostile))
    await expect(page.locator("[data-answer] *")).to_have_count(0)
    await expect(page.locator("[data-asked]")).to_have_text("Redis: <i>markup?</i>")
    await expect(page).to_have_title("Curious about Redis?")


async def test_a_long_answer_stays_in_sight(page: Page, backend: FakeBackend) -> None:
    """The end of the answer is followed, until the reader scrolls up to read."""
    line = "All work and no play makes Jack a dull boy.\n"
    log = page.get_by_role("log")
    await ask(page)
    await backend.heard("askQuestion")
    await backend.start()
    await backend.say(*[line] * 200)
    await expect_answer(page, line * 200)
    at_end = "log => log.scrollHeight - log.scrollTop - log.clientHeight < 2"
    assert await log.evaluate(at_end)
    await backend.say(line)
    await expect_answer(page, line * 201)
    assert await log.evaluate(at_end)
    await log.evaluate("log => { log.scrollTop = 10 }")
    await backend.say(line)
    await expect_answer(page, line * 202)
    assert await log.evaluate("log => log.scrollTop") == 10
    await log.evaluate("log => { log.scrollTop = log.scrollHeight }")
    await backend.end("failed", error={"code": "model_error", "message": "!", "retryable": True})
    await expect(page.get_by_role("alert")).to_be_visible()
    assert await log.evaluate(at_end)


async def test_a_failure_is_told_in_words(page: Page, backend: FakeBackend) -> None:
    """What was said stays; the error is told, once, and the next question can be asked."""
    await ask(page)
    await backend.heard("askQuestion")
    await backend.start()
    await backend.say("Well,")
    message = "The language model took too long to answer."
    error = {"code": "model_timeout", "message": message, "retryable": True}
    await backend.end("failed", error=error)
    await expect(page.get_by_role("alert")).to_have_text(message)
    await expect_answer(page, "Well,")
    await expect_progress(page, "Broken off.")
    await ask(page, "And now?")
    await backend.heard("askQuestion")
    await expect(page.get_by_role("alert")).to_be_hidden()
    await backend.answer("Better.")
    await expect_answer(page, "Better.")


async def test_a_refusal_is_told_in_words(page: Page, backend: FakeBackend) -> None:
    """A question that the server does not take ends at once."""
    backend.refusal = {"code": "busy", "message": "Too much to do.", "retryable": True}
    await ask(page)
    await expect(page.get_by_role("alert")).to_have_text("Too much to do.")
    await expect_progress(page, "No answer.")


async def test_a_cut_answer_says_so(page: Page, backend: FakeBackend) -> None:
    """An answer that reached the model's limit does not look whole."""
    await ask(page)
    await backend.heard("askQuestion")
    await backend.start()
    await backend.say("So")
    await backend.end(finishReason="length")
    await expect_progress(page, "Cut off: the answer reached the model's limit.")


async def test_a_reload_continues_the_answer(page: Page, backend: FakeBackend) -> None:
    """The same answer, from its start, ends whole; a reload afterwards shows it again."""
    await ask(page)
    asked = await backend.heard("askQuestion")
    await backend.start()
    await backend.say("One,", " two,")
    await expect_answer(page, "One, two,")
    await page.reload()
    assert await backend.heard("resumeQuestion") == {"questionId": asked["questionId"]}
    await expect_answer(page, "One, two,")
    await expect(page.get_by_label("Your question")).to_have_value("What is a stream?")
    await backend.say(" three.")
    await backend.end()
    await expect_answer(page, "One, two, three.")
    await expect_progress(page, "Done.")
    await page.reload()
    await expect_answer(page, "One, two, three.")
    await expect_progress(page, "Done.")
    assert not backend.has_heard("askQuestion")


async def test_an_answer_that_is_gone_is_told_in_words(page: Page, backend: FakeBackend) -> None:
    """After a reload too late, the page says that the answer is no longer stored."""
    await ask(page)
    await backend.heard("askQuestion")
    await backend.start()
    await backend.say("One")
    await expect_answer(page, "One")
    backend.stores = False
    await page.reload()
    await expect(page.get_by_role("alert")).to_contain_text("no longer stored")


async def test_a_reconnect_continues_the_answer(page: Page, backend: FakeBackend) -> None:
    """What was said while the connection was down arrives; no word is there twice."""
    await ask(page)
    await backend.heard("askQuestion")
    await backend.start()
    await backend.say("One,", " two,")
    await expect_answer(page, "One, two,")
    backend.drop()
    await backend.say(" three,")
    assert (await backend.heard("resumeQuestion"))["after"] == "1-2"
    await expect_answer(page, "One, two, three,")
    await backend.say(" four.")
    await backend.end()
    await expect_answer(page, "One, two, three, four.")
    await expect_connected(page)


async def test_the_connection_is_told(context: BrowserContext, site: str) -> None:
    """Without a server the page says so, keeps trying, and sends the question when it may."""
    page = await context.new_page()
    async with FakeBackend().serving() as backend:
        await page.goto(f"{site}?backend={backend.url}")
        await expect_connected(page)
        await context.set_offline(True)
        await expect(page.get_by_text("Offline, still trying")).to_be_visible()
        await ask(page)
        await expect_progress(page, "Waiting for the server …")
        await context.set_offline(False)
        assert (await backend.heard("askQuestion"))["topicQuestion"] == "What is a stream?"
        await expect_connected(page)


async def test_a_new_attempt_replaces_the_text(page: Page, backend: FakeBackend) -> None:
    """An answer that is begun again does not hang on to the words of the first try."""
    await ask(page)
    await backend.heard("askQuestion")
    await backend.start()
    await backend.say("A first", " try that")
    await expect_answer(page, "A first try that")
    await backend.start(attempt=2)
    await expect_answer(page, "")
    await expect_progress(page, "The answer broke off. Starting again …")
    await backend.say("The second.")
    await backend.end()
    await expect_answer(page, "The second.")


async def test_stop_keeps_what_was_said(page: Page, backend: FakeBackend) -> None:
    """Stop is there while an answer runs, by keyboard, too, and leaves the focus in the form."""
    stop = page.get_by_role("button", name="Stop")
    await expect(stop).to_be_hidden()
    await ask(page)
    asked = await backend.heard("askQuestion")
    await backend.start()
    await backend.say("On and on")
    await expect_answer(page, "On and on")
    await stop.press("Enter")
    assert await backend.heard("stopQuestion") == {"questionId": asked["questionId"]}
    await expect_progress(page, "Stopped.")
    await expect_answer(page, "On and on")
    await expect(stop).to_be_hidden()
    await expect(page.get_by_label("Your question")).to_be_focused()


async def test_without_stream(page: Page, backend: FakeBackend) -> None:
    """The whole answer comes at once, by POST; its failure is told in words."""
    await page.get_by_label("Without stream").check()
    await ask(page)
    assert await backend.heard("POST") == {"topic": "Redis", "topicQuestion": "What is a stream?"}
    await expect_answer(page, "The whole answer.")
    await expect_progress(page, "Done.")
    backend.post_status = 500
    backend.posted = {"error": {"code": "model_error", "message": "It broke.", "retryable": True}}
    await ask(page)
    await expect(page.get_by_role("alert")).to_have_text("It broke.")
    await expect_answer(page, "")
    assert not backend.has_heard("askQuestion")


async def test_works_on_a_phone(page: Page, backend: FakeBackend) -> None:
    """Nothing is wider than the screen, not even a word without end; targets fit a finger."""
    await page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
    await ask(page, "q" * 300)
    await backend.heard("askQuestion")
    await backend.start()
    await backend.say("x" * 2_000)
    await expect_answer(page, "x" * 2_000)
    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    for name in ("Ask", "Stop"):
        box = await page.get_by_role("button", name=name).bounding_box()
        assert box is not None
        assert box["height"] >= 44
        assert box["x"] + box["width"] <= PHONE["width"]


async def test_a_plain_server_is_enough_to_ask(
    context: BrowserContext, site: str, plain_backend: FakeBackend
) -> None:
    """With the Node original the labels are hidden, and what it cannot do is not offered."""
    page = await context.new_page()
    await page.goto(f"{site}?backend={plain_backend.url}")
    await expect_connected(page)
    await ask(page)
    await plain_backend.heard("askQuestion")
    await plain_backend.start()
    await plain_backend.say("A <b>log</b>", " of entries.")
    await expect_answer(page, "A <b>log</b> of entries.")
    await expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    await plain_backend.end()
    await expect_progress(page, "Done.")
    await expect_answer(page, "A <b>log</b> of entries.")
    await page.reload()
    await expect_connected(page)
    assert not plain_backend.has_heard("resumeQuestion")


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


@pytest_asyncio.fixture(scope="module", loop_scope="module")
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
        log = page.get_by_role("log")
        await expect(log).to_contain_text("You asked: What is a stream?")
        await page.reload()
        await expect(log).to_contain_text("You asked: What is a stream?")
        await expect_progress(page, "Done.")
        text = await log.text_content() or ""
        assert text.startswith("This is a demo:")
        assert text.endswith("without --demo.")
        assert text.count("You asked:") == 1

    async def test_stop_ends_the_answer(self, context: BrowserContext, demo: str) -> None:
        """Stop is heard by the worker; what was said stays."""
        page = await context.new_page()
        await page.goto(demo)
        await ask(page)
        await expect(page.get_by_role("log")).to_contain_text("This is")
        await page.get_by_role("button", name="Stop").click()
        await expect_progress(page, "Stopped.")
        await expect(page.get_by_role("log")).to_contain_text("This is")


async def page_address(process: asyncio.subprocess.Process) -> str:
    """Read what the demo prints until it says where its page is."""
    assert process.stdout is not None
    async with asyncio.timeout(20):
        async for line in process.stdout:
            if found := re.search(rb"Page: +(http://\S+)", line):
                return found[1].decode()
    raise AssertionError("the demo ended without a page")
