"""Reloads, lost connections, restarts: every answer goes on by itself, and is whole in the end."""

import pytest
from playwright.async_api import BrowserContext, Page, expect

from tests.e2e.pages import (
    QUESTION,
    answer,
    ask,
    asked,
    button,
    card,
    expect_answer,
    expect_connected,
    expect_progress,
    open_page,
)
from tests.fakes.fake_backend import FakeBackend

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_reload_continues_the_answer(page: Page, backend: FakeBackend) -> None:
    """The same answer, from its start, ends whole; a reload afterwards shows it again."""
    question_id = await asked(page, backend)
    await backend.start()
    await backend.say("One,", " two,")
    await expect_answer(page, "One, two,")
    await page.reload()
    assert await backend.heard("resumeQuestion") == {"questionId": question_id}
    await expect_answer(page, "One, two,")
    await backend.say(" three.")
    await backend.end()
    await expect_answer(page, "One, two, three.")
    await expect_progress(page, "Done.")
    await page.reload()
    await expect_answer(page, "One, two, three.")
    await expect_progress(page, "Done.")
    assert not backend.has_heard("askQuestion")


async def test_a_reload_continues_several_answers(page: Page, backend: FakeBackend) -> None:
    """Each card comes back in its place, with its own words."""
    ids = {}
    for question in ("One?", "Two?", "Three?"):
        ids[question] = await asked(page, backend, question)
        await backend.start()
        await backend.say(f"To {question}")
        await expect_answer(page, f"To {question}", question)
    await backend.end(of=ids["Two?"])
    await expect_progress(page, "Done.", "Two?")
    await page.reload()
    for question in ids:
        await expect_answer(page, f"To {question}", question)
    for question in ("One?", "Three?"):
        await backend.say(" more", of=ids[question])
        await backend.end(of=ids[question])
        await expect_answer(page, f"To {question} more", question)
    await expect(page.get_by_role("article").get_by_role("heading", level=2)).to_have_text(
        ["One?", "Two?", "Three?"]
    )


async def test_a_reload_continues_an_answer_in_one_go(page: Page, backend: FakeBackend) -> None:
    """A POST that a reload breaks off is repeated under the same id."""
    backend.may_post.clear()
    await page.get_by_label("Without stream").check()
    await ask(page)
    first = await backend.heard("POST")
    await page.reload()
    assert await backend.heard("POST") == first
    backend.may_post.set()
    await expect_answer(page, "The whole answer.")


async def test_an_answer_that_is_gone_is_told_in_words(page: Page, backend: FakeBackend) -> None:
    """After a reload too late, the page says that the answer is no longer stored."""
    await asked(page, backend)
    await backend.start()
    await backend.say("One")
    await expect_answer(page, "One")
    backend.stores = False
    await page.reload()
    await expect_progress(page, "No longer stored.")
    await expect(button(page, "Retry")).to_be_hidden()
    backend.stores = True
    await button(page, "Ask again").click()
    await backend.heard("askQuestion")


async def test_a_reconnect_continues_the_answer(page: Page, backend: FakeBackend) -> None:
    """What was said while the connection was down arrives; no word is there twice."""
    await asked(page, backend)
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


async def test_a_restart_of_the_server_continues_the_answer(
    page: Page, backend: FakeBackend
) -> None:
    """While the server is away the page says what will happen; then it happens."""
    await asked(page, backend)
    await backend.start()
    await backend.say("One,")
    await expect_answer(page, "One,")
    await backend.leave()
    await expect_progress(page, "Interrupted. It goes on by itself once the server is back.")
    await backend.listen()
    await backend.heard("resumeQuestion")
    await backend.say(" two.")
    await backend.end()
    await expect_answer(page, "One, two.")


async def test_a_question_asked_offline_goes_out_by_itself(
    context: BrowserContext, page: Page, backend: FakeBackend
) -> None:
    """Without a network the page says so, keeps the question, and sends it when it may."""
    await context.set_offline(True)
    await expect(page.get_by_text("Offline, still trying")).to_be_visible()
    await ask(page)
    await expect_progress(page, "Waiting for the server. Your question goes out by itself.")
    await context.set_offline(False)
    assert (await backend.heard("askQuestion"))["topicQuestion"] == QUESTION
    await expect_connected(page)


async def test_an_asking_without_acknowledgement_is_repeated(
    page: Page, backend: FakeBackend
) -> None:
    """Nobody knows whether the first one was heard, so the second one has the same id."""
    backend.loses.add("askQuestion")
    await ask(page)
    first = await backend.heard("askQuestion")
    backend.loses.clear()
    backend.drop()
    assert await backend.heard("askQuestion") == first
    await backend.answer("Once.")
    await expect_answer(page, "Once.")
    await expect(card(page)).to_have_count(1)


async def test_a_word_that_got_lost_is_fetched(page: Page, backend: FakeBackend) -> None:
    """Nothing is shown behind a gap; the gap is closed."""
    await asked(page, backend)
    await backend.start()
    await backend.say("One,")
    await backend.skip(" two,")
    await backend.say(" three.")
    assert (await backend.heard("resumeQuestion"))["after"] == "1-1"
    await expect_answer(page, "One, two, three.")


async def test_a_new_attempt_replaces_the_text(page: Page, backend: FakeBackend) -> None:
    """An answer that is begun again does not hang on to the words of the first try."""
    await asked(page, backend)
    await backend.start()
    await backend.say("A first", " try that")
    await expect_answer(page, "A first try that")
    await backend.start(attempt=2)
    await expect_answer(page, "")
    await expect_progress(page, "The answer broke off. Starting again …")
    await backend.say("The second.")
    await backend.end()
    await expect_answer(page, "The second.")


@pytest.mark.parametrize(
    "event", ["new Event('online')", "new PageTransitionEvent('pageshow', { persisted: true })"]
)
async def test_a_page_that_wakes_asks_where_it_was(
    page: Page, backend: FakeBackend, event: str
) -> None:
    """A connection that may have died in its sleep is tried at once, not at the next heartbeat."""
    await asked(page, backend)
    await backend.start()
    await backend.say("One,")
    await expect_answer(page, "One,")
    await page.evaluate(f"dispatchEvent({event})")
    assert (await backend.heard("resumeQuestion"))["after"] == "1-1"
    await backend.say(" two.")
    await expect_answer(page, "One, two.")


async def test_whoever_comes_back_reads_on(page: Page, site: str, backend: FakeBackend) -> None:
    """The browser's back button brings an answer back that went on meanwhile."""
    await asked(page, backend)
    await backend.start()
    await backend.say("One,")
    await expect_answer(page, "One,")
    await page.goto(f"{site}favicon.svg")
    await backend.say(" two,")
    await page.go_back(wait_until="commit")
    await expect_answer(page, "One, two,")
    await backend.say(" three.")
    await expect_answer(page, "One, two, three.")


async def test_what_was_typed_survives_a_reload(page: Page, backend: FakeBackend) -> None:
    """A question that is not asked yet is still there."""
    await page.get_by_label("Topic").fill("Valkey")
    await page.get_by_label("Your question").fill("Half a")
    await page.reload()
    await expect_connected(page)
    await expect(page.get_by_label("Your question")).to_have_value("Half a")
    await expect(page).to_have_title("Curious about Valkey?")


async def test_two_answers_at_once_do_not_mix(page: Page, backend: FakeBackend) -> None:
    """The second question need not wait; each card has its own words and its own state."""
    one = await asked(page, backend, "One?")
    two = await asked(page, backend, "Two?")
    for question_id in (one, two):
        await backend.start(of=question_id)
    for number in range(20):
        await backend.say(f" a{number}", of=one)
        await backend.say(f" b{number}", of=two)
    await backend.end(of=one)
    await expect_answer(page, " ".join(f"a{number}" for number in range(20)), "One?")
    await expect_answer(page, " ".join(f"b{number}" for number in range(20)), "Two?")
    await expect_progress(page, "Done.", "One?")
    await expect_progress(page, "Answering …", "Two?")


async def test_the_same_question_can_be_asked_anew(page: Page, backend: FakeBackend) -> None:
    """Ask again begins a second card beside the first, and gives it the focus."""
    await asked(page, backend)
    await backend.answer("First.")
    await button(page, "Ask again").click()
    await backend.heard("askQuestion")
    await backend.answer("Second.")
    await expect(answer(page)).to_have_text(["First.", "Second."])
    await expect(card(page).last).to_be_focused()


async def test_a_closed_card_does_not_come_back(page: Page, backend: FakeBackend) -> None:
    """Closing takes the card off the page; the question stays on the list."""
    await asked(page, backend)
    await backend.answer("Said.")
    await button(page, "Close").click()
    await expect(card(page)).to_have_count(0)
    await expect(page.get_by_label("Your question")).to_be_focused()
    await page.reload()
    await expect_connected(page)
    await expect(card(page)).to_have_count(0)


async def test_a_plain_server_is_enough_to_ask(
    context: BrowserContext, site: str, plain_backend: FakeBackend
) -> None:
    """With the Node original the labels are hidden, and what it cannot do is not offered."""
    page = await open_page(context, site, plain_backend)
    await asked(page, plain_backend)
    await plain_backend.start()
    await plain_backend.say("A log", " of entries.")
    await expect_answer(page, "A log of entries.")
    for name in ("Stop", "Copy link"):
        await expect(button(page, name)).to_be_hidden()
    await plain_backend.end()
    await expect_progress(page, "Done.")
    await expect_answer(page, "A log of entries.")
    await page.reload()
    await expect_connected(page)
    await expect(page.get_by_role("article")).to_have_count(0)
    assert not plain_backend.has_heard("resumeQuestion")


async def test_a_plain_server_gets_one_question_after_the_other(
    context: BrowserContext, site: str, plain_backend: FakeBackend
) -> None:
    """Its pieces do not say whose they are; the second question says that it waits."""
    page = await open_page(context, site, plain_backend)
    await asked(page, plain_backend, "One?")
    await plain_backend.start()
    await plain_backend.say("a")
    await ask(page, "Two?")
    await expect_progress(
        page, "Waiting for the answer before it: this server tells one at a time.", "Two?"
    )
    assert not plain_backend.has_heard("askQuestion")
    await plain_backend.end()
    await plain_backend.heard("askQuestion")
    await plain_backend.answer("b")
    await expect_answer(page, "a", "One?")
    await expect_answer(page, "b", "Two?")


async def test_reading_of_a_plain_server_can_be_stopped(
    context: BrowserContext, site: str, plain_backend: FakeBackend
) -> None:
    """What it goes on saying does not reach the next question."""
    page = await open_page(context, site, plain_backend)
    await asked(page, plain_backend, "One?")
    await plain_backend.start()
    await plain_backend.say("a")
    await expect_answer(page, "a", "One?")
    await button(page, "Stop reading", "One?").click()
    await expect_progress(page, "Stopped reading. This server cannot be told to stop.", "One?")
    await ask(page, "Two?")
    await plain_backend.heard("askQuestion")
    await plain_backend.say("late", of="1")
    await plain_backend.answer("b")
    await expect_answer(page, "b", "Two?")
    await expect_answer(page, "a", "One?")
