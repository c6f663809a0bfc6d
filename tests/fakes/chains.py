"""Chains that answer as a test wants: in steps, without end, or deaf to cancellation."""

import asyncio
from collections.abc import AsyncGenerator

from backend.llm.base import Finish, Piece

STOP = Finish("stop")
Step = Piece | Exception | asyncio.Event


class FakeChain:
    """Answers every question with the same steps: a piece is said, an event is waited for."""

    def __init__(self, *steps: Step) -> None:
        self.asked: list[tuple[str, str]] = []
        self.closed = asyncio.Event()
        self._steps = steps

    async def aclose(self) -> None:
        """Hold nothing open."""

    async def stream(self, topic: str, question: str) -> AsyncGenerator[Piece]:
        """Go through the steps."""
        self.asked.append((topic, question))
        try:
            for step in self._steps:
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, asyncio.Event):
                    await step.wait()
                else:
                    yield step
        finally:
            self.closed.set()


def silence() -> asyncio.Event:
    """A step that lasts for ever."""
    return asyncio.Event()


class TalkativeChain:
    """Never comes to an end."""

    async def aclose(self) -> None:
        """Hold nothing open."""

    async def stream(self, topic: str, question: str) -> AsyncGenerator[Piece]:
        """Say the same word again and again."""
        while True:
            yield "again "
            await asyncio.sleep(0)


class StubbornChain:
    """Swallows the first cancellation, as a library may that waits with asyncio.wait_for."""

    async def aclose(self) -> None:
        """Hold nothing open."""

    async def stream(self, topic: str, question: str) -> AsyncGenerator[Piece]:
        """Say one word, then nothing."""
        yield "half "
        try:
            await silence().wait()
        except asyncio.CancelledError:
            await silence().wait()
