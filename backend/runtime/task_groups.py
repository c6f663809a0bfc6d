"""Tasks and their ends: whoever creates a task keeps it, cancels it, and waits for it."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

# A cancellation can be swallowed on its way, where it meets a result: asyncio.wait_for does so
# before Python 3.12, and with it what is built on it (seen with langchain-openai 1.7.3 and
# fakeredis 2.40). So it is repeated.
CANCEL_AGAIN_S = 0.5


async def cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until all of them have ended. What they return or raise is dropped."""
    ended = list(tasks)
    waiting = {task for task in ended if not task.done()}
    while waiting:
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=CANCEL_AGAIN_S)
    for task in ended:
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not report it


class Parts:
    """Endless tasks that live as long as a block. None of them ever returns, but by a fault."""

    def __init__(self, *runs: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._runs = runs
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Parts":
        self._tasks = [asyncio.create_task(run()) for run in self._runs]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await cancel(self._tasks)

    async def fault(self) -> None:
        """Wait until one of the tasks fails, and raise what it raised."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
