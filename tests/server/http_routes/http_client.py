"""A client of the HTTP routes, and a model that says what a test wants."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient

from backend.llm.base import Chain, Finish
from backend.settings import Settings

Client = TestClient[web.Request, web.Application]

ASK = "/askQuestionWithoutStream"
QUESTION = {"topic": "Redis", "topicQuestion": "What is a stream?"}


class FakeChain:
    """Says these pieces, and then fails, if that is wanted; `asked` is what it was asked."""

    def __init__(self, *pieces: str) -> None:
        self.pieces = pieces
        self.failure: Exception | None = None
        self.asked: list[tuple[str, str]] = []

    async def aclose(self) -> None:
        """Hold nothing open."""

    async def stream(self, topic: str, question: str) -> AsyncGenerator[str | Finish]:
        """Answer."""
        self.asked.append((topic, question))
        for piece in self.pieces:
            yield piece
        if self.failure:
            raise self.failure
        yield Finish("stop")

    async def load(self, settings: Settings) -> Chain:
        """The loader of this chain."""
        return self


async def ready(client: Client) -> None:
    """Wait until the server can take questions."""
    async with asyncio.timeout(5):
        while (await client.get("/readyz")).status != 200:
            pass


async def post(client: Client, body: Any) -> tuple[int, Any]:
    """Ask; the status and the decoded body."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    async with client.post(ASK, data=data, headers=headers) as response:
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert response.content_type == "application/json"
        return response.status, await response.json()
