"""What reached the fake endpoint, and ways to wait until something has."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.openai_script import Script

PATIENCE_S = 30.0  # what is waited for may begin with the start of a program


@dataclass(slots=True, eq=False)
class Request:
    """One request as it arrived, and how far its answer has got."""

    question: str
    body: dict[str, Any]
    headers: Mapping[str, str]
    script: Script
    peer: Any = None  # the other end of its connection
    thought: int = 0  # pieces of thought
    sent: int = 0
    sent_at: list[float] = field(default_factory=list)  # perf_counter of each piece
    open: bool = True
    completed: bool = False  # False after it closed: a fault, or the client went away
    let_go: asyncio.Event = field(default_factory=asyncio.Event)  # what its script held back


@dataclass(slots=True, eq=False)
class _Waiter:
    find: Callable[[], Request | None]
    found: asyncio.Future[Request] = field(default_factory=asyncio.Future)


class Journal:
    """The requests that arrived, what has become of them, and who waits for that."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.open_streams = 0
        self.peak_open_streams = 0
        self._by_question: defaultdict[str, list[Request]] = defaultdict(list)
        self._waiters: list[_Waiter] = []

    def requests_for(self, question: str) -> list[Request]:
        """The requests that carried this question, oldest first."""
        return list(self._by_question.get(question.strip(), ()))

    def go_on(self, question: str) -> None:
        """Let what has been asked so far go on where its script holds it, or would."""
        for request in self.requests_for(question):
            request.let_go.set()

    async def wait_requests(
        self, question: str, count: int, timeout_s: float = PATIENCE_S
    ) -> Request:
        """Wait until the question has arrived so many times; the newest request with it."""

        def find() -> Request | None:
            requests = self.requests_for(question)
            return requests[-1] if len(requests) >= count else None

        return await self._wait(find, f"asked {count} times", timeout_s)

    async def wait_open(
        self, question: str, count: int = 1, timeout_s: float = PATIENCE_S
    ) -> Request:
        """Wait until `count` requests with this question are open; the newest of them."""

        def find() -> Request | None:
            requests = [request for request in self.requests_for(question) if request.open]
            return requests[-1] if len(requests) >= count else None

        return await self._wait(find, "open", timeout_s)

    async def wait_closed(self, question: str, timeout_s: float = PATIENCE_S) -> Request:
        """Wait until the question has been asked and none of its requests is open."""

        def find() -> Request | None:
            requests = self.requests_for(question)
            return None if not requests or any(r.open for r in requests) else requests[-1]

        return await self._wait(find, "closed", timeout_s)

    async def wait_sent(self, question: str, pieces: int, timeout_s: float = PATIENCE_S) -> Request:
        """Wait until the newest request with this question has been sent so many pieces."""

        def find() -> Request | None:
            requests = self.requests_for(question)
            return requests[-1] if requests and requests[-1].sent >= pieces else None

        return await self._wait(find, f"sent {pieces} pieces", timeout_s)

    async def wait_thought(
        self, question: str, pieces: int, timeout_s: float = PATIENCE_S
    ) -> Request:
        """Wait until the newest request with this question has thought so many pieces."""

        def find() -> Request | None:
            requests = self.requests_for(question)
            return requests[-1] if requests and requests[-1].thought >= pieces else None

        return await self._wait(find, f"thought {pieces} pieces", timeout_s)

    async def _wait(
        self, find: Callable[[], Request | None], what: str, timeout_s: float
    ) -> Request:
        if request := find():
            return request
        waiter = _Waiter(find)
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                return await waiter.found
        except TimeoutError:
            raise TimeoutError(f"the question was not {what} within {timeout_s} s") from None
        finally:
            self._waiters.remove(waiter)

    def _changed(self) -> None:
        # The result is what was true at this moment; it may have passed when the waiter runs.
        for waiter in self._waiters:
            if not waiter.found.done() and (request := waiter.find()):
                waiter.found.set_result(request)

    def _opened(self, request: Request) -> None:
        self.requests.append(request)
        self._by_question[request.question].append(request)
        self.open_streams += 1
        self.peak_open_streams = max(self.peak_open_streams, self.open_streams)
        self._changed()

    def _closed(self, request: Request) -> None:
        request.open = False
        self.open_streams -= 1
        self._changed()
