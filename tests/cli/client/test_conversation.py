"""One question over bad connections and to odd servers, inside of the test's own process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from engineio.payload import Payload

from backend.cli.client import conversation, exchange, stopping
from backend.cli.client.address import BackendAddress
from backend.cli.client.connection import take_long_polls
from backend.cli.client.conversation import Conversation
from backend.cli.client.outcome import Outcome
from backend.protocol.entries import Usage
from tests.fakes.rig import new_ask
from tests.fakes.scripted_server import OK, ScriptedServer

PATIENCE_S = 10.0


class Spectator:
    """A view that keeps what it is shown, and tells when something was."""

    def __init__(self) -> None:
        self.text = ""
        self.thoughts = ""
        self.notes: list[str] = []
        self.attempts: list[int] = []
        self._changed = asyncio.Condition()

    async def thought(self, text: str) -> None:
        """Keep what the model thinks."""
        async with self._changed:
            self.thoughts += text
            self._changed.notify_all()

    async def piece(self, text: str) -> None:
        """Keep text."""
        async with self._changed:
            self.text += text
            self._changed.notify_all()

    def restarted(self, attempt: int) -> None:
        """Keep the number of an attempt."""
        self.attempts.append(attempt)
        self.text = self.thoughts = ""

    def note(self, text: str) -> None:
        """Keep a note."""
        self.notes.append(text)

    async def read(self, text: str) -> None:
        """Wait until this is the text so far."""
        async with asyncio.timeout(PATIENCE_S), self._changed:
            await self._changed.wait_for(lambda: self.text == text)

    async def read_thought(self, text: str) -> None:
        """Wait until this is what has been thought so far."""
        async with asyncio.timeout(PATIENCE_S), self._changed:
            await self._changed.wait_for(lambda: self.thoughts == text)


class Talk:
    """A conversation under way, with a server that says what the test wants."""

    def __init__(self, server: ScriptedServer) -> None:
        self.server = server
        self.view = Spectator()
        self.conversation = Conversation(BackendAddress(server.url), new_ask(), self.view)
        self.running = asyncio.create_task(self.conversation.run(PATIENCE_S))

    async def outcome(self) -> Outcome:
        """Wait for what becomes of it."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.running


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for comes at once here, or never."""
    monkeypatch.setattr(conversation, "PAUSES_S", (0.0, 0.01))
    monkeypatch.setattr(exchange, "END_WITHIN_S", 0.1)


@asynccontextmanager
async def asked(*transports: str, acknowledged: bool = True) -> AsyncIterator[Talk]:
    """A question that the server has heard."""
    server = ScriptedServer(*transports)
    if not acknowledged:
        server.replies = dict.fromkeys(server.replies)
    async with server.serving():
        talk = Talk(server)
        try:
            await server.heard("askQuestion")
            yield talk
        finally:
            talk.running.cancel()
            await asyncio.wait({talk.running})


@asynccontextmanager
async def answering() -> AsyncIterator[Talk]:
    """A question whose answer has begun, with one piece."""
    async with asked() as talk:
        await talk.server.start()
        await talk.server.say("One, ")
        await talk.view.read("One, ")
        yield talk


@asynccontextmanager
async def thinking() -> AsyncIterator[Talk]:
    """A question whose model has begun to think."""
    async with asked() as talk:
        await talk.server.start()
        await talk.server.think("Hm, ")
        await talk.view.read_thought("Hm, ")
        yield talk


async def test_thought_stands_beside_the_answer() -> None:
    """The view and the outcome get what the model thinks, apart from the text."""
    async with thinking() as talk:
        await talk.server.think("yes.")
        await talk.server.say("One.")
        await talk.server.end()
        outcome = await talk.outcome()
    assert (outcome.reasoning, outcome.text) == ("Hm, yes.", "One.")
    assert (talk.view.thoughts, talk.view.text) == ("Hm, yes.", "One.")


async def test_a_connection_that_is_lost_in_the_middle_of_thinking() -> None:
    """The new one asks for what follows the last thought."""
    async with thinking() as talk:
        talk.server.drop()
        assert (await talk.server.heard("resumeQuestion"))["after"] == "1-1"
        await talk.server.think("yes.")
        await talk.server.end()
        outcome = await talk.outcome()
    assert (outcome.reasoning, talk.view.thoughts) == ("Hm, yes.", "Hm, yes.")


async def test_another_worker_thinks_anew() -> None:
    """The thought of an attempt that broke off is replaced, and the view is told."""
    async with thinking() as talk:
        await talk.server.start(attempt=2)
        await talk.server.think("Well.")
        await talk.server.end()
        outcome = await talk.outcome()
    assert (outcome.reasoning, talk.view.thoughts, talk.view.attempts) == ("Well.", "Well.", [2])


async def test_what_an_answer_took() -> None:
    """The outcome has the tokens, as far as they are known, and the model's name."""
    async with answering() as talk:
        await talk.server.end(usage={"inputTokens": 3, "outputTokens": 0}, model="gpt-6-luna")
        outcome = await talk.outcome()
    assert (outcome.usage, outcome.model) == (Usage(3, 0), "gpt-6-luna")


async def test_an_end_with_nonsense_in_it() -> None:
    """What a server gets wrong about an end is left out; the end is one all the same."""
    async with answering() as talk:
        nonsense = {"usage": "many", "model": 4, "finishReason": [], "error": "a word"}
        await talk.server.end("failed", **nonsense)
        outcome = await talk.outcome()
    assert (outcome.status, outcome.usage, outcome.model) == ("failed", None, None)
    assert outcome.finish_reason is None
    assert outcome.error
    assert outcome.error["code"] == "failed"


async def test_reads_on_behind_the_last_entry() -> None:
    """A new connection asks for what follows, and only for that."""
    async with answering() as talk:
        talk.server.drop()
        assert (await talk.server.heard("resumeQuestion"))["after"] == "1-1"
        await talk.server.say("two.")
        await talk.server.end()
        outcome = await talk.outcome()
    assert (outcome.status, outcome.text, talk.view.text) == ("done", "One, two.", "One, two.")
    assert not talk.server.has_heard("askQuestion")


async def test_asks_again_where_nobody_knows_whether_it_was_heard() -> None:
    """Before anything has come back, the same question is asked with the same id."""
    async with asked(acknowledged=False) as talk:
        talk.server.drop()
        talk.server.replies = dict.fromkeys(talk.server.replies, OK)
        again = await talk.server.heard("askQuestion")
        assert again["questionId"] == talk.server.question_id
        await talk.server.start()
        await talk.server.end()
        assert (await talk.outcome()).status == "done"


async def test_is_refused_for_now_while_the_answer_is_there() -> None:
    """A resume that is refused for now is tried again, until it is not."""
    async with answering() as talk:
        talk.server.refuse("resumeQuestion", "busy", retryable=True)
        talk.server.drop()
        for _ in range(3):
            await talk.server.heard("resumeQuestion")
        talk.server.replies["resumeQuestion"] = OK
        await talk.server.end()
        assert (await talk.outcome()).text == "One, "
    assert sum("trying to go on" in note for note in talk.view.notes) == 1


@pytest.mark.parametrize("retryable", [True, False])
async def test_a_connection_that_is_refused_on_the_way(retryable: bool) -> None:
    """A server that is full for a moment is tried again; one that wants another token is not."""
    async with answering() as talk:
        talk.server.closed = {"code": "busy", "message": "No.", "retryable": retryable}
        talk.server.drop()
        await talk.server.heard("connect")
        if retryable:
            await talk.server.heard("connect")
            talk.server.closed = None
            await talk.server.heard("resumeQuestion")
            await talk.server.end()
        outcome = await talk.outcome()
    assert (outcome.status, outcome.text) == ("done" if retryable else "refused", "One, ")


async def test_gives_a_server_up_that_stays_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """After long enough without a connection it ends, with the words so far."""
    monkeypatch.setattr(conversation, "RECONNECT_WITHIN_S", 0.05)
    async with answering() as talk:
        talk.server.refuse("resumeQuestion", "busy", retryable=True)
        talk.server.drop()
        outcome = await talk.outcome()
    assert (outcome.status, outcome.text) == ("unreachable", "One, ")


async def test_an_answer_that_is_gone() -> None:
    """Where nothing is stored any more, the answer has failed."""
    async with answering() as talk:
        talk.server.refuse("resumeQuestion", "expired", retryable=False)
        talk.server.drop()
        outcome = await talk.outcome()
    assert (outcome.status, outcome.text) == ("failed", "One, ")
    assert outcome.error
    assert outcome.error["code"] == "expired"


@pytest.mark.parametrize("retryable", [True, False])
async def test_a_reader_that_breaks_off(retryable: bool) -> None:
    """An END that stands in no stream is gone around, if trying again may help."""
    async with answering() as talk:
        error = {"code": "storage_unavailable", "message": "No.", "retryable": retryable}
        meta = {"questionId": talk.server.question_id, "attempt": 1}
        await talk.server.emit("END", meta | {"status": "failed", "error": error})
        if retryable:
            await talk.server.heard("resumeQuestion")
            await talk.server.say("two.")
            await talk.server.end()
        outcome = await talk.outcome()
    expected = ("done", "One, two.") if retryable else ("failed", "One, ")
    assert (outcome.status, outcome.text) == expected


async def test_a_missing_piece_is_fetched() -> None:
    """Behind a hole it reads again what stands behind the last entry."""
    async with answering() as talk:
        await talk.server.lose("two, ")
        await talk.server.say("three.")
        assert (await talk.server.heard("resumeQuestion"))["after"] == "1-1"
        await talk.server.end()
        assert (await talk.outcome()).text == "One, two, three."


async def test_begins_anew() -> None:
    """Another attempt replaces the words, and the view is told."""
    async with answering() as talk:
        await talk.server.start(attempt=2)
        await talk.server.say("Uno.")
        await talk.server.end()
        outcome = await talk.outcome()
    assert (outcome.text, outcome.attempt, talk.view.attempts) == ("Uno.", 2, [2])


async def test_stops_even_while_the_connection_is_lost() -> None:
    """A wish to stop is passed on by the next connection."""
    async with answering() as talk:
        talk.server.drop()
        talk.conversation.stop()
        await talk.server.heard("stopQuestion")
        await talk.server.end("stopped")
        outcome = await talk.outcome()
    assert (outcome.status, outcome.text, outcome.error) == ("stopped", "One, ", None)


async def test_a_confirmed_stop_is_enough() -> None:
    """Where the END gets lost, the acknowledgement of the stop will do."""
    async with answering() as talk:
        talk.conversation.stop()
        outcome = await talk.outcome()
    assert (outcome.status, outcome.error) == ("stopped", None)


async def test_a_stop_that_nobody_confirms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the server does not say that it has stopped, it ends all the same, and says so."""
    monkeypatch.setattr(conversation, "STOP_WITHIN_S", 0.3)
    monkeypatch.setattr(stopping, "STOP_WITHIN_S", 0.3)
    async with asked(acknowledged=False) as talk:
        talk.conversation.stop()
        outcome = await talk.outcome()
    assert outcome.status == "stopped"
    assert outcome.error
    assert outcome.error["code"] == "unconfirmed"


async def test_a_server_that_keeps_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that never acknowledges is waited for once, and is not asked again."""
    monkeypatch.setattr(exchange, "ACK_WITHIN_S", 0.05)
    monkeypatch.setattr(exchange, "LATE_ACK_WITHIN_S", 0.05)
    async with asked(acknowledged=False) as talk:
        outcome = await talk.outcome()
        assert not talk.server.has_heard("askQuestion")
    assert outcome.status == "unreachable"
    assert any("does not acknowledge" in note for note in talk.view.notes)


async def test_a_server_that_sends_plain_strings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks without meta, as the Node original sends them, may be anybody's: they are ignored."""
    monkeypatch.setattr(exchange, "ACK_WITHIN_S", 0.05)
    monkeypatch.setattr(exchange, "LATE_ACK_WITHIN_S", 0.05)
    async with asked(acknowledged=False) as talk:
        await talk.server.emit("START:7;<br/>")
        await talk.server.emit("One, ")
        outcome = await talk.outcome()
    assert (outcome.status, outcome.text, talk.view.text) == ("unreachable", "", "")


async def test_a_server_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resume that is not acknowledged in time is tried over another connection."""
    async with answering() as talk:
        talk.server.replies["resumeQuestion"] = None
        monkeypatch.setattr(exchange, "ACK_WITHIN_S", 0.05)
        talk.server.drop()
        await talk.server.heard("resumeQuestion")
        await talk.server.heard("resumeQuestion")
        talk.server.replies["resumeQuestion"] = OK
        await talk.server.end()
        assert (await talk.outcome()).text == "One, "


async def test_where_websockets_are_not_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long polling does it, too, even where one poll brings more than its share."""
    monkeypatch.setattr(Payload, "max_decode_packets", Payload.max_decode_packets)  # put back later
    take_long_polls()
    words = [f"{number} " for number in range(200)]
    async with asked("polling") as talk:
        await talk.server.start()
        await asyncio.gather(*(talk.server.say(word) for word in words))
        await talk.server.end()
        outcome = await talk.outcome()
    assert (outcome.status, outcome.text) == ("done", "".join(words))
    assert not any("trying to go on" in note for note in talk.view.notes)
