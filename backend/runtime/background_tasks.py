"""Background tasks: whoever starts one keeps it, cancels it, and waits until it has ended."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

# A cancellation can be swallowed on its way, where it meets a result: asyncio.wait_for does so
# before Python 3.12, and with it what is built on it (seen with langchain-openai 1.7.3 and
# fakeredis 2.40). So it is repeated.
CANCEL_AGAIN_S = 0.5


async def cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until all of them have ended. What they return or raise is dropped.

    Cancelled itself, it goes on until they have ended, and raises CancelledError then: whoever
    repeats a cancellation from outside must not leave behind what is being cancelled here.
    """
    ended = list(tasks)
    waiting = {task for task in ended if not task.done()}
    cancelled: asyncio.CancelledError | None = None
    while waiting:
        for task in waiting:
            task.cancel()
        try:
            _, waiting = await asyncio.wait(waiting, timeout=CANCEL_AGAIN_S)
        except asyncio.CancelledError as exc:
            cancelled = exc
            waiting = {task for task in waiting if not task.done()}
    for task in ended:
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio does not report it
    if cancelled:
        raise cancelled


async def first_of(*waits: Coroutine[Any, Any, object]) -> None:
    """Run these until the first of them ends, and cancel the others; raises what it raised."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await cancel(tasks)


class BackgroundTasks:
    """Runs coroutines as tasks while a block lasts; at its end they are cancelled and have ended.

    Unlike asyncio.TaskGroup, a failing task does not cancel the block: the process decides, in
    `first_failure`, and may drain before it ends.
    """

    def __init__(self, *runs: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._runs = runs
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "BackgroundTasks":
        self._tasks = [asyncio.create_task(run()) for run in self._runs]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await cancel(self._tasks)

    async def first_failure(self) -> None:
        """Wait until one of the tasks fails, and raise what it raised; else wait for ever."""
        running = set(self._tasks)
        while running:
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        await asyncio.Event().wait()

    async def all_ended(self) -> None:
        """Wait until every task has ended by itself; what they raise is left to first_failure."""
        if self._tasks:
            await asyncio.wait(self._tasks)
