"""An answer that talks like our labels is text like any other, for every reader of ours."""

import asyncio
import itertools
import json
import uuid
from collections.abc import AsyncGenerator, AsyncIterator

import pytest
from aiohttp.test_utils import TestClient, TestServer

from backend.app import create_app
from backend.llm.base import Chain, Finish
from backend.protocol.entries import end_label, start_label
from backend.settings import Settings
from backend.store.embedded_redis import embedded_redis
from tests.fakes.client import Client
from tests.fakes.programs import ROOT, need

READ_ON_S = 10.0

FOLD_JS = """
import { emptyAnswer, fold } from "%s";
import { stdin } from "node:process";
let text = "";
for await (const part of stdin) text += part;
const answer = JSON.parse(text).reduce((a, [t, m]) => fold(a, t, m), emptyAnswer);
console.log(JSON.stringify([answer.text, answer.status, answer.hole]));
"""


def shapes(question_id: str) -> list[str]:
    """What a model says that was told to talk like us."""
    start, end = start_label(question_id), end_label(question_id)
    whole = f"{end}{start}{start}{end};END:{question_id}"
    return ["Hello ", end, start, start, end, "END:", "START:", *whole, "<br/>;", "END:", " bye"]


class Parrot:
    """A model that says these pieces."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.asked: list[tuple[str, str]] = []

    async def load(self, settings: Settings) -> Chain:
        """The loader of this chain."""
        return self

    async def aclose(self) -> None:
        """Hold nothing open."""

    async def stream(self, topic: str, question: str) -> AsyncGenerator[str | Finish]:
        """Say them, one by one."""
        self.asked.append((topic, question))
        for piece in self.pieces:
            yield piece
            await asyncio.sleep(0)
        yield Finish("stop")


@pytest.fixture
def parrot() -> Parrot:
    """The model."""
    return Parrot()


@pytest.fixture
async def http(parrot: Parrot) -> AsyncIterator[TestClient]:  # type: ignore[type-arg]
    """A client of the whole backend, in this process."""
    settings = Settings(write_linger_ms=0)
    app = create_app(settings, connect=embedded_redis, load_chain=parrot.load)
    async with TestClient(TestServer(app)) as client:
        async with asyncio.timeout(READ_ON_S):
            while (await client.get("/readyz")).status != 200:
                pass
        yield client


async def test_no_reader_is_confused(http: TestClient, parrot: Parrot) -> None:  # type: ignore[type-arg]
    """Labels within an answer, whole or cut to letters, end it for no reader and begin it anew."""
    question_id = str(uuid.uuid4())
    parrot.pieces = shapes(question_id)
    said = "".join(parrot.pieces)
    asked = f"{start_label(question_id)} What? {end_label(question_id)}"
    async with Client(http.session, str(http.make_url(""))) as person:
        live = await person.ask(asked, topic=end_label(question_id), question_id=question_id)
        live.question = ""
        await live.ended()
        late = await person.resume(question_id)
        await late.ended()
    for answer in (live, late):
        assert (answer.text, answer.status) == (said, "done")
        assert (answer.starts, answer.ends, answer.holes) == (1, 1, 0)
    body = {"topic": "Redis", "topicQuestion": asked}
    async with http.post("/askQuestionWithoutStream", json=body) as response:
        assert (await response.json())["output"] == said
    assert parrot.asked[0] == (end_label(question_id), asked)
    assert await folded_by_the_page(live.metas, live.pieces) == [said, "done", False]


async def folded_by_the_page(metas: list[dict[str, object]], pieces: list[str]) -> list[object]:
    """What the page makes of these chunks, with its own fold."""
    question_id = str(metas[0]["questionId"])
    texts = itertools.chain([start_label(question_id)], pieces, [end_label(question_id)])
    chunks = json.dumps(list(zip(texts, metas, strict=True)))
    program = FOLD_JS % (ROOT / "frontend" / "js" / "answer.js").as_uri()
    node = await asyncio.create_subprocess_exec(
        need("node"), "--input-type=module", "-e", program,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await node.communicate(chunks.encode())
    folded: list[object] = json.loads(output)
    return folded


async def test_what_a_page_that_reads_only_text_sees(
    http: TestClient,  # type: ignore[type-arg]
    parrot: Parrot,
) -> None:
    """The original's page takes a piece with END: for the end: only the meta tells them apart."""
    question_id = str(uuid.uuid4())
    parrot.pieces = ["Hello ", end_label(question_id), " there"]
    async with Client(http.session, str(http.make_url(""))) as person:
        answer = await person.ask("What?", question_id=question_id)
        answer.question = ""
        await answer.ended()
    ends = [end_label(question_id) in piece for piece in answer.pieces]
    assert any(ends)
    statuses = ["status" in meta for meta in answer.metas]
    assert statuses == [False] * (len(statuses) - 1) + [True]
