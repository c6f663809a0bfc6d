"""Answers as Markdown, in a real browser: what they look like, and what they may not do."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Page,
    Request,
    Route,
    expect,
)

from backend.server.static_page import PACKAGES, create_page
from tests.e2e.hostile import ADDRESSES, HTML, LINKS, PLACES, WHOLE
from tests.fakes.chromium import CHROMIUM, chromium
from tests.fakes.markdown import answer, pieces

pytestmark = pytest.mark.asyncio(loop_scope="module")

FRONTEND = Path(__file__).parents[2] / "frontend"
HARNESS = Path(__file__).with_name("markdown.mjs")
DOCUMENT = """<!doctype html>
<html lang="en">
  <meta charset="utf-8" />
  <title>Harness</title>
  <link rel="icon" href="favicon.svg" type="image/svg+xml" />
  <link rel="stylesheet" href="styles.css" />
  <link rel="stylesheet" href="markdown.css" />
  <div id="output" role="log" aria-label="Answer"></div>
  <script type="module" src="harness.mjs"></script>
</html>"""
CDN = "https://cdn.jsdelivr.net/npm/"
OUR_FILES = re.compile(
    r"/(?:harness(?:\.mjs)?|favicon\.svg|(?:styles|markdown)\.css|js/.+|node_modules/.+)"
)


@pytest.fixture(scope="module")
def installed() -> None:
    """Skips, with the reason, where a browser or a library is missing."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    if not all(any((FRONTEND / "node_modules" / p.name).glob("*")) for p in PACKAGES):
        pytest.skip("the page's libraries are not installed: run `npm ci` in frontend/")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(installed: None) -> AsyncIterator[Browser]:
    """Chromium, started once."""
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(installed: None) -> AsyncIterator[str]:
    """The page's own origin, as the backend serves it."""
    runner = web.AppRunner(create_page(), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


class Visit:
    """A profile of its own that shows the harness, and notes what it should never have to."""

    def __init__(self, context: BrowserContext, site: str) -> None:
        self.context = context
        self.site = site
        self.policy = True
        self.npm = True
        self.cdn: Callable[[Route], Awaitable[None]] | None = None
        self.faults: list[str] = []
        context.set_default_timeout(20_000)
        context.on("console", self._note_message)
        context.on("weberror", lambda error: self.faults.append(str(error.error)))
        context.on("request", self._note_request)

    async def open(self) -> Page:
        """The harness, ready; its policy is that of the page, unless `policy` is False."""
        await self.context.route("**/*", self._elsewhere)
        await self.context.route(f"{self.site}/**", self._here)
        page = await self.context.new_page()
        page.on("dialog", lambda dialog: self.faults.append(dialog.message))
        page.on("framenavigated", lambda frame: self._note_address(frame.url))
        await page.goto(f"{self.site}/harness")
        await page.locator("html[data-ready]").wait_for(state="attached")
        return page

    async def _here(self, route: Route) -> None:
        path = route.request.url.removeprefix(self.site)
        if path == "/harness":
            response = await route.fetch(url=f"{self.site}/")
            headers = {"Content-Type": "text/html; charset=utf-8"}
            if self.policy:
                headers["Content-Security-Policy"] = response.headers["content-security-policy"]
            await route.fulfill(body=DOCUMENT, headers=headers)
        elif path == "/harness.mjs":
            await route.fulfill(path=HARNESS, content_type="text/javascript")
        elif path.startswith("/node_modules/") and not self.npm:
            await route.abort()
        else:
            await route.continue_()

    async def _elsewhere(self, route: Route) -> None:
        await (self.cdn(route) if self.cdn else route.abort())

    def _note_message(self, message: ConsoleMessage) -> None:
        # What is fetched is noted by itself.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.faults.append(message.text)

    def _note_request(self, request: Request) -> None:
        self._note_address(request.url)

    def _note_address(self, url: str) -> None:
        ours = OUR_FILES.fullmatch(url.removeprefix(self.site))
        if not ours and not (url.startswith(CDN) and not self.npm):
            self.faults.append(f"fetched {url}")


@asynccontextmanager
async def visiting(browser: Browser, site: str, **options: Any) -> AsyncIterator[Visit]:
    """A visit on which nothing may go wrong, unless its faults are looked at and cleared."""
    context = await browser.new_context(reduced_motion="reduce", **options)
    visit = Visit(context, site)
    try:
        yield visit
    finally:
        await context.close()
    assert visit.faults == []


@pytest_asyncio.fixture(loop_scope="module")
async def visit(browser: Browser, site: str) -> AsyncIterator[Visit]:
    """A visit."""
    async with visiting(browser, site) as visit:
        yield visit


@pytest_asyncio.fixture(loop_scope="module")
async def page(visit: Visit) -> Page:
    """The harness under the page's own policy."""
    return await visit.open()


@pytest_asyncio.fixture(loop_scope="module")
async def exposed(visit: Visit) -> Page:
    """The harness without any policy, which is the second wall: the first has to hold alone."""
    visit.policy = False
    return await visit.open()


async def render(page: Page, *pieces: str) -> str:
    """Show these pieces; returns the HTML that came of them."""
    html: str = await page.evaluate("pieces => harness.render(pieces)", list(pieces))
    return html


async def begin(page: Page, *pieces: str) -> None:
    """Show the beginning of an answer."""
    await page.evaluate("harness.start()")
    await go_on(page, *pieces)


async def go_on(page: Page, *pieces: str) -> None:
    """Show more of it."""
    for piece in pieces:
        await page.evaluate("piece => harness.append(piece)", piece)


async def shown(page: Page) -> str:
    """The text that a reader sees in the answer."""
    return await page.locator("#output").inner_text()


class TestTheDocument:
    """What becomes of an answer, however it comes."""

    async def test_markdown_becomes_elements(self, page: Page) -> None:
        """Headings below those of the page, emphasis, lists, quotes, line breaks, rules."""
        html = await render(
            page,
            "# One\n\n###### Six\n\na **b** *c* ~~d~~ `e`\nf\n\n",
            "- g\n  1. h\n- i\n\n  j\n\n> k\n\n---\n",
        )
        assert html.replace(' dir="auto"', "") == (
            "<h3>One</h3><h6>Six</h6><p>a <strong>b</strong> <em>c</em> <del>d</del> "
            "<code>e</code><br>f</p><ul><li>g<ol><li>h</li></ol></li><li>i<p>j</p></li></ul>"
            "<blockquote><p>k</p></blockquote><hr>"
        )

    async def test_html_is_shown_as_it_was_written(self, page: Page) -> None:
        """A reader who asked for HTML gets to read it; only a line break is taken as one."""
        source = '<b title="x">b</b> &lt;<br>a <kbd>Ctrl</kbd> <!-- c --> &copy; 1 < 2 & 3'
        await render(page, f"{source}\n\n<div>\n  {source}\n</div>")
        text = source.replace("&lt;", "<").replace("&copy;", "©").replace("<br>", "\n")
        assert await shown(page) == f"{text}\n\n<div>\n{text}\n</div>"

    async def test_links_open_elsewhere_and_tell_nothing(self, page: Page) -> None:
        """A new tab, no referrer, no hold on this page; an address alone is a link, too."""
        await render(
            page, "[a](https://a.example/?b&c 'title') https://b.example/ www.c.example d@e.example"
        )
        links = page.locator("#output a")
        addresses = await links.evaluate_all("links => links.map((link) => link.href)")
        assert addresses == [
            "https://a.example/?b&c",
            "https://b.example/",
            "http://www.c.example/",
            "mailto:d@e.example",
        ]
        for link in await links.all():
            await expect(link).to_have_attribute("target", "_blank")
            await expect(link).to_have_attribute("rel", "noopener noreferrer nofollow")

    async def test_images_are_links(self, page: Page) -> None:
        """Nothing is fetched that would tell somebody who reads this answer, and when."""
        await render(
            page,
            "![a *cat*](https://evil.example/a.png) ![](https://evil.example/b.png) "
            "![c](data:image/png;base64,x) [![d](https://evil.example/d.png)](https://d.example/)",
        )
        links = page.locator("#output a")
        assert await links.all_inner_texts() == ["a cat", "image", "d"]
        assert await links.nth(2).get_attribute("href") == "https://d.example/"
        assert await page.locator("#output img").count() == 0

    async def test_an_address_may_come_after_its_links(self, page: Page) -> None:
        """Links whose definition stands further below become links at the end of the answer."""
        await begin(page, "See [one][a] and [b].\n\n- item [a]\n- item\n\n", "Text.\n\n")
        assert await page.locator("#output a").count() == 0
        await go_on(page, "[a]: https://a.example/\n[b]: https://b.example/\n\nUse [b] again.")
        await page.evaluate("harness.end()")
        assert await page.locator("#output a").all_inner_texts() == ["one", "b", "a", "b"]
        text = await shown(page)
        assert text.split() == "See one and b. item a item Text. Use b again.".split()

    async def test_tasks_are_no_form(self, page: Page) -> None:
        """The boxes of a task list have names, and cannot be clicked."""
        await render(page, "- [x] written\n- [ ] read\n")
        await expect(page.get_by_role("img", name="Done:")).to_have_count(1)
        await expect(page.get_by_role("img", name="To do:")).to_have_count(1)
        assert await page.locator("#output input").count() == 0

    async def test_each_block_has_its_own_direction(self, page: Page) -> None:
        """Hebrew runs from right to left, English from left to right, code always the latter."""
        hebrew, arabic = "\u05e9\u05dc\u05d5\u05dd", "\u0645\u0631\u062d\u0628\u0627"
        await render(page, f"{hebrew}\n\n- hello\n- {arabic}\n\n```\n{hebrew}\n```\n")
        directions = await page.locator("#output :is(p, li, pre)").evaluate_all(
            "nodes => nodes.map((node) => getComputedStyle(node).direction)"
        )
        assert directions == ["rtl", "ltr", "rtl", "ltr"]

    async def test_cuts_do_not_matter(self, page: Page) -> None:
        """A document cut anywhere, within words, marks and characters, is the same document."""
        document = (
            f"{answer(6_000)}\n\n強調 😀👩‍👩‍👧 e\u0301\r\n\n- [a]\n\n[a]: https://a.example/\n"
        )
        whole = await render(page, document)
        assert whole.count("<h4") > 1
        assert whole.count("hljs-keyword") > 1
        for chars in (2, 7, 61, 500):
            assert await render(page, *pieces(document, chars)) == whole
        assert await page.evaluate("text => harness.render(text.split(''))", document) == whole

    async def test_nothing_flickers(self, page: Page) -> None:
        """While it is written, an answer does not show the marks of what is not finished."""
        document = (
            "Some **bold**, *thin* and `code` with [a link](https://a.example/) in it:\n"
            "- **one**: 1\n- two\n\n| a | **b** |\n|---|---|\n| `c` | d |\n\n"
            "## Two\n\n```python\nx = 1\n```\n\n1. ~~gone~~ ![cat](https://a.example/c.png)\n"
        )
        await begin(page)
        for piece in re.findall(r"\]\(|.|\n", document):  # a bracket alone may well be meant
            await go_on(page, piece)
            assert not re.search(r"[*`|\[\]~#]|https|---", await shown(page)), await shown(page)
            # A line above a dash is a heading, until the dash turns out to be a list.
            assert await page.locator("#output :is(h3, h4)").all_inner_texts() in (
                [],
                ["T"],
                ["Tw"],
                ["Two"],
            )

    async def test_what_is_finished_stays_as_it_is(self, page: Page) -> None:
        """No node of a finished block, item or row is replaced or changed by what follows."""
        document = re.sub(r"```\w+", "```", answer(8_000))  # colours come later
        await begin(page)
        await page.evaluate("harness.watch()")
        for at in range(0, len(document), 40):
            await go_on(page, document[at : at + 40])
        await page.evaluate("harness.end()")
        assert await page.evaluate("harness.disturbed()") == []
        assert await page.locator("#output > *").count() > 15

    async def test_a_selection_survives_what_follows(self, page: Page) -> None:
        """Somebody who marks words, even in the open block, keeps them marked."""
        await begin(page, "The first words of")
        await page.locator("#output p").evaluate(
            "({ firstChild }) => getSelection().setBaseAndExtent(firstChild, 4, firstChild, 9)"
        )
        await go_on(page, " a **paragraph** that goes", " on.\n\nAnd another.")
        assert await page.evaluate("getSelection().toString()") == "first"


class TestCode:
    """Code blocks."""

    async def test_code_is_coloured_once_it_is_there(self, page: Page) -> None:
        """Text first, colours at the end of the block; the library is fetched for code alone."""
        fetched: list[str] = []
        page.on("request", lambda request: fetched.append(request.url))
        await begin(page, "No code.\n\n")
        assert fetched == []
        async with page.expect_request("**/highlight.min.js"):
            await go_on(page, "```python\ndef ")
        await go_on(page, "f():\n    return 1 <")
        await expect(page.locator("#output pre")).to_have_text("def f():\n    return 1 <")
        assert await page.locator("#output pre span").count() == 0
        await go_on(page, " 2\n``", "`\n")
        await expect(page.locator(".hljs-keyword")).to_have_text(["def", "return"])
        await expect(page.locator("#output pre")).to_have_text("def f():\n    return 1 < 2")
        await expect(page.locator("#output figcaption")).to_contain_text("python")

    @pytest.mark.parametrize("language", ["", "nosuchlanguage", "__proto__", "constructor"])
    async def test_other_code_is_plain(self, page: Page, language: str) -> None:
        """Languages are not guessed, and a name is no more than a name."""
        await render(page, f"```{language}\ndef f(): pass\n```\n")
        await expect(page.locator("#output pre")).to_have_text("def f(): pass")
        assert await page.locator("#output pre span").count() == 0

    async def test_very_long_code_is_plain(self, page: Page) -> None:
        """Past a bound colours are left out; not a character is."""
        code = "x = 1\n" * 5_000
        await render(page, f"```python\n{code}```\n")
        assert await page.locator("#output code").text_content() == code[:-1]
        assert await page.locator("#output pre span").count() == 0

    async def test_a_button_copies_the_code(self, visit: Visit) -> None:
        """It is reached with the keyboard, has a name, and says politely that it has copied."""
        await visit.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page = await visit.open()
        await render(page, "```python\nx = '<b>'\n\ny = 2\n```\n\n```\nother\n```")
        button = page.get_by_role("button", name="Copy code").first
        await page.keyboard.press("Tab")
        await expect(button).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status").first).to_have_text("Copied")
        assert await page.evaluate("navigator.clipboard.readText()") == "x = '<b>'\n\ny = 2"
        await expect(page.get_by_role("status").nth(1)).to_have_text("")
        await expect(page.get_by_role("status").first).to_have_text("")

    async def test_plain_http_has_no_clipboard(self, visit: Visit) -> None:
        """Where the page may not use it, the code is selected and copied as by hand."""
        await visit.context.add_init_script(
            "Object.defineProperty(navigator, 'clipboard', { value: undefined });"
            "addEventListener('copy', () => (window.copied = getSelection().toString()));"
        )
        page = await visit.open()
        code = "".join(f"line {number}\n" for number in range(1_000))
        await render(page, f"```\n{code}```\n")
        await page.get_by_role("button", name="Copy code").click()
        await expect(page.get_by_role("status")).to_have_text("Copied")
        assert await page.evaluate("window.copied") == code[:-1]

    async def test_code_is_reached_and_named(self, page: Page) -> None:
        """What scrolls sideways takes the focus, so that it scrolls without a mouse."""
        await render(page, f"```sql\n{'x' * 500}\n```\n")
        block = page.get_by_role("group", name="Code in sql")
        await block.focus()
        await expect(block).to_be_focused()
        assert await block.evaluate("node => node.scrollWidth > node.clientWidth")


async def test_a_wide_table_scrolls_by_itself(browser: Browser, site: str) -> None:
    """On a phone the page stays as wide as the screen, and the table is reached and named."""
    async with visiting(browser, site, viewport={"width": 360, "height": 640}) as visit:
        page = await visit.open()
        row = "|".join(["a column"] * 12)
        await render(
            page, f"{row}\n{'|'.join(['--:'] * 12)}\n{row}\n\n{'x' * 500}\n\n`{'y' * 500}`"
        )
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360
        table = page.get_by_role("group", name="Table")
        await table.focus()
        await expect(table).to_be_focused()
        assert await table.evaluate("node => node.scrollWidth > node.clientWidth")
        cell = page.get_by_role("cell").first
        alignment = await cell.evaluate("node => getComputedStyle(node).textAlign")
        assert alignment.endswith("right")
        assert await page.locator("#output [style]").count() == 0


class TestTheLibraries:
    """Where they come from, and what is left without them."""

    async def test_the_cdn_stands_in_for_npm(self, visit: Visit) -> None:
        """The same versions, each under an integrity hash, and under the same policy."""
        page = await self._opened(visit, from_cdn=True)
        await render(page, "**bold**\n\n```python\ndef f(): pass\n```\n")
        await expect(page.locator("#output strong")).to_have_text("bold")
        await expect(page.locator(".hljs-keyword").first).to_have_text("def")
        scripts = page.locator("script[src^='https:']")
        await expect(scripts).to_have_count(3)
        for script in await scripts.all():
            await expect(script).to_have_attribute("integrity", re.compile(r"^sha384-[\w+/]{64}$"))
            await expect(script).to_have_attribute("crossorigin", "anonymous")

    async def test_a_forged_library_is_not_run(self, visit: Visit) -> None:
        """A CDN copy with other bytes is refused; the answer is plain text."""
        page = await self._opened(visit, forged=True)
        assert await render(page, "**bold** <b>\n", "`code`") == "**bold** &lt;b&gt;\n`code`"
        assert await page.evaluate("harness.calls") == []
        assert any("integrity" in fault for fault in visit.faults)
        visit.faults[:] = [fault for fault in visit.faults if "integrity" not in fault]

    async def test_without_any_library_answers_are_text(self, visit: Visit) -> None:
        """All of it, in bounded nodes, with its line breaks, and no character cut in two."""
        page = await self._opened(visit)
        text = "😀 line\n\n" * 2_000
        await page.evaluate("text => harness.render(text.split(''))", text)
        output = page.locator("#output")
        assert await output.text_content() == text
        longest = await output.evaluate(
            "node => Math.max(...[...node.childNodes].map((part) => part.textContent.length))"
        )
        assert longest <= 8_000

    async def _opened(self, visit: Visit, *, from_cdn: bool = False, forged: bool = False) -> Page:
        async def cdn(route: Route) -> None:
            name = re.sub(r"^.*/npm/(.+)@[\d.]+/", r"\1/", route.request.url)
            await route.fulfill(
                path=FRONTEND / "node_modules" / name if from_cdn else None,
                body=None if from_cdn else "ran('forged')",
                content_type="text/javascript",
                headers={"Access-Control-Allow-Origin": "*"},
            )

        visit.cdn = cdn if from_cdn or forged else None
        visit.npm = False
        return await visit.open()


async def test_a_fault_of_ours_costs_no_word(visit: Visit, page: Page) -> None:
    """Should rendering ever fail, the answer goes on as plain text."""
    await page.evaluate("harness.startFaulty()")
    await go_on(page, "One **two**", " three\n", "four")
    await page.evaluate("harness.end()")
    assert await page.locator("#output").inner_html() == "One **two** three\nfour"
    assert [fault for fault in visit.faults if "made to fail" in fault]
    visit.faults.clear()


async def test_a_disposed_renderer_leaves_the_page_alone(page: Page) -> None:
    """What was due with the next frame is not shown in what is another answer's place by then."""
    text = await page.evaluate(
        """async () => {
          harness.start();
          for (let piece = 0; piece < 20_000; piece += 1) harness.append("word ");
          harness.dispose();
          const before = document.querySelector("#output").textContent;
          await new Promise(requestAnimationFrame);
          await new Promise(requestAnimationFrame);
          return [before, document.querySelector("#output").textContent];
        }"""
    )
    assert text[0] == text[1]
    assert len(text[0]) < 5 * 20_000


class TestHostileAnswers:
    """Nothing runs, nothing is fetched, nothing but harmless elements is on the page."""

    async def test_the_test_would_notice(self, visit: Visit, exposed: Page) -> None:
        """Shown as nobody should, such an answer does run, and does fetch."""
        await exposed.evaluate("html => harness.showRaw(html)", "<img src=x onerror=ran()>")
        await exposed.wait_for_function("harness.calls.length")
        assert f"fetched {visit.site}/x" in visit.faults
        async with exposed.expect_event("requestfailed"):
            await exposed.evaluate(
                "html => harness.showRaw(html)", "<img src=https://evil.example/a.png>"
            )
        assert "fetched https://evil.example/a.png" in visit.faults
        visit.faults.clear()

    async def test_html_is_text_wherever_it_stands(self, exposed: Page) -> None:
        """Each vector, in each place that Markdown has."""
        for place in PLACES:
            assert await faults_of(exposed, *(place.replace("{}", vector) for vector in HTML)) == []

    async def test_links_lead_to_the_web_or_to_mail(self, exposed: Page) -> None:
        """No spelling of another scheme, and no path, becomes a link."""
        answers = [place.replace("{}", address) for place in LINKS for address in ADDRESSES]
        assert await faults_of(exposed, *answers) == []

    async def test_cuts_open_no_way_in(self, exposed: Page) -> None:
        """Whole answers, cut in two at each place, and into single characters."""
        cuts = [[text[:at], text[at:]] for text in WHOLE for at in range(1, len(text))]
        assert await faults_of(exposed, *cuts, *map(list, WHOLE)) == []

    async def test_the_policy_has_nothing_to_forbid(self, page: Page) -> None:
        """Under the page's own policy not even an attempt is reported."""
        answers = [place.replace("{}", vector) for place in PLACES[:4] for vector in HTML]
        links = [LINKS[0].replace("{}", address) for address in ADDRESSES]
        assert await faults_of(page, *answers, *links) == []

    async def test_no_text_becomes_markup(self, visit: Visit, page: Page) -> None:
        """The policy lets nobody write HTML, or name a script, but those that check it."""
        for attempt in (
            "document.body.innerHTML = '<b>x</b>'",
            "document.createElement('script').src = '/js/main.js'",
            "new DOMParser().parseFromString('<b>x</b>', 'text/html')",
            "trustedTypes.createPolicy('mine', { createHTML: (text) => text })",
        ):
            async with page.expect_console_message() as told:
                with pytest.raises(Error, match="TypeError"):
                    await page.evaluate(f"() => {{ {attempt} }}")
            assert "Trusted" in (await told.value).text
        visit.faults.clear()

    async def test_the_sanitiser_holds_alone(self, exposed: Page) -> None:
        """Were HTML let through, no more than the elements of an answer would be left of it."""
        sources = [*HTML, *(f"<a href='{address}'>x</a>" for address in ADDRESSES)]
        faults = await exposed.evaluate("sources => harness.faultsOfSanitised(sources)", sources)
        assert faults == []


async def faults_of(page: Page, *answers: str | list[str]) -> list[Any]:
    """Show these answers, some of them cut into pieces; returns what is wrong with the page."""
    faults: list[Any] = await page.evaluate("answers => harness.faultsOf(answers)", list(answers))
    return faults
