"""Tasks and their ends: cancelled until they have ended, failures retrieved, none left over."""

import asyncio
import contextlib
import gc
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from backend.runtime.background_tasks import BackgroundTasks, cancel, first_of
from tests.fakes.rig import PATIENCE_S, is_quiet


@pytest.fixture
async def reported() -> list[dict[str, Any]]:
    """What asyncio reports from now on: errors that nobody has looked at."""
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, report: reports.append(report))
    return reports


class Work:
    """Something that waits until it is cancelled, and swallows that some times before it ends."""

    def __init__(self, swallows: int = 0, last: BaseException | None = None) -> None:
        self.told = 0
        self.begun = asyncio.Event()
        self._swallows = swallows
        self._last = last

    async def __call__(self) -> None:
        """Wait, and end in the way that was asked for."""
        while True:
            self.begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.told += 1
                if self.told <= self._swallows:
                    continue
                if self._last:
                    raise self._last from None
                raise

    async def started(self) -> "asyncio.Task[None]":
        """A task that is in the middle of it."""
        task = asyncio.create_task(self())
        await self.begun.wait()
        return task


async def cancelled(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel these; that takes no longer than patience has."""
    async with asyncio.timeout(PATIENCE_S):
        await cancel(tasks)


async def test_tasks_have_ended_afterwards() -> None:
    """On return every task has ended, and was told once."""
    works = [Work() for _ in range(3)]
    tasks = [await work.started() for work in works]
    await cancelled(*tasks)
    assert all(task.cancelled() for task in tasks)
    assert [work.told for work in works] == [1, 1, 1]


async def test_a_task_that_has_not_begun_never_does() -> None:
    """Cancelled in the moment it is made, a task ends without a step."""
    work = Work()
    task = asyncio.create_task(work())
    await cancelled(task)
    assert task.cancelled()
    assert not work.begun.is_set()


async def test_a_swallowed_cancellation_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task is told until it ends; one that has ended is not waited for."""
    monkeypatch.setattr("backend.runtime.background_tasks.CANCEL_AGAIN_S", 0.01)
    stubborn, obedient = Work(swallows=3), Work()
    tasks = [await stubborn.started(), await obedient.started()]
    await cancelled(*tasks)
    assert all(task.cancelled() for task in tasks)
    assert (stubborn.told, obedient.told) == (4, 1)


async def test_results_are_dropped() -> None:
    """What a task returns in place of being cancelled, or had returned before, is no concern."""

    async def unmoved() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await work()
        return "a result"

    work = Work()
    task = asyncio.create_task(unmoved())
    await work.begun.wait()
    await cancelled(task)
    await cancelled(task)
    assert task.result() == "a result"


async def test_failures_are_dropped_and_retrieved(reported: list[dict[str, Any]]) -> None:
    """A task that fails, while it is cancelled or before, is not reported by asyncio."""

    async def fail() -> None:
        raise RuntimeError

    failed = asyncio.create_task(fail())
    await asyncio.wait({failed})
    failing = await Work(last=RuntimeError()).started()
    await cancelled(failed, failing)
    assert isinstance(failing.exception(), RuntimeError)
    del failed, failing
    gc.collect()
    await asyncio.sleep(0)
    assert reported == []


async def test_there_need_not_be_any_tasks() -> None:
    """Cancelling nothing is done at once."""
    await cancelled()


async def test_who_cancels_can_be_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who cancels, and is cancelled, ends once the tasks have: nothing of theirs is left."""
    monkeypatch.setattr("backend.runtime.background_tasks.CANCEL_AGAIN_S", PATIENCE_S)
    work = Work(swallows=1)
    task = await work.started()
    cancelling = asyncio.create_task(cancel([task]))
    assert await is_quiet(cancelling)
    cancelling.cancel()
    await asyncio.wait({cancelling}, timeout=PATIENCE_S)
    assert cancelling.cancelled()
    assert task.cancelled()
    assert work.told == 2


async def test_tasks_live_as_long_as_the_block() -> None:
    """All tasks run inside of the block, and none behind it."""
    one, other = Work(), Work()
    async with BackgroundTasks(one, other):
        await one.begun.wait()
        await other.begun.wait()
        assert (one.told, other.told) == (0, 0)
    assert (one.told, other.told) == (1, 1)


async def test_tasks_end_when_the_block_fails() -> None:
    """A failure in the block ends the tasks, and goes on."""

    async def block() -> None:
        async with BackgroundTasks(work):
            await work.begun.wait()
            raise RuntimeError("of the block")

    work = Work()
    with pytest.raises(RuntimeError, match="of the block"):
        await block()
    assert work.told == 1


async def test_tasks_end_with_their_block() -> None:
    """At the exit every task was cancelled and has cleaned up, one that needs time as well."""
    cleaned_up = []

    def cleaning_up(name: str, turns: int) -> Callable[[], Coroutine[Any, Any, None]]:
        async def run() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                for _ in range(turns):
                    await asyncio.sleep(0)
                cleaned_up.append(name)

        return run

    before = asyncio.all_tasks()
    async with BackgroundTasks(cleaning_up("quick", 0), cleaning_up("slow", 20)):
        await asyncio.sleep(0)  # they begin
    assert cleaned_up == ["quick", "slow"]
    assert asyncio.all_tasks() == before


async def test_a_task_that_fails_at_the_end_harms_nobody() -> None:
    """A failure while cleaning up neither hides what the block raises, nor stays unread."""

    async def failing() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise RuntimeError("too late")

    async def block() -> None:
        async with BackgroundTasks(failing):
            await asyncio.sleep(0)  # it begins
            raise KeyError("of the block")

    with pytest.raises(KeyError, match="of the block"):
        await block()


async def test_a_failure_is_raised_to_whoever_waits() -> None:
    """Waiting ends with what the first task that fails has raised; the others run on."""

    async def fail() -> None:
        await let_fail.wait()
        raise RuntimeError("of a task")

    let_fail, work = asyncio.Event(), Work()
    async with BackgroundTasks(work, fail) as tasks:
        waiting = asyncio.create_task(tasks.first_failure())
        assert await is_quiet(waiting)
        let_fail.set()
        with pytest.raises(RuntimeError, match="of a task"):
            await waiting
        assert work.told == 0


async def test_a_failure_that_came_before_is_raised_at_once() -> None:
    """Whoever asks late hears of a failure all the same."""

    async def fail() -> None:
        raise RuntimeError("of a task")

    async with BackgroundTasks(fail) as tasks:
        for _ in range(2):
            with pytest.raises(RuntimeError, match="of a task"):
                await tasks.first_failure()


async def test_who_waits_for_a_failure_can_give_up() -> None:
    """Waiting no more for a failure does not end the tasks."""
    work = Work()
    async with BackgroundTasks(work) as tasks:
        waiting = asyncio.create_task(tasks.first_failure())
        await work.begun.wait()
        assert await is_quiet(waiting)
        await cancelled(waiting)
        assert work.told == 0


async def test_a_failure_that_nobody_waits_for_is_not_reported(
    reported: list[dict[str, Any]],
) -> None:
    """Tasks that fail while the block is being left leave no message of asyncio's behind."""
    work = Work(last=RuntimeError())
    async with BackgroundTasks(work):
        await work.begun.wait()
    gc.collect()
    await asyncio.sleep(0)
    assert reported == []


async def test_a_task_that_returns_is_no_failure() -> None:
    """Whoever waits for a failure goes on waiting where tasks end well, and without any tasks."""

    async def end() -> None:
        """End well."""

    for runs in ((end, end), ()):
        async with BackgroundTasks(*runs) as tasks:
            waiting = asyncio.create_task(tasks.first_failure())
            assert await is_quiet(waiting)
            await cancelled(waiting)


async def test_all_tasks_may_end_by_themselves() -> None:
    """Waiting for all ends with the last of them, whether it fails or not; with none, at once."""

    async def fail() -> None:
        await let_fail.wait()
        raise RuntimeError("of a task")

    async def end() -> None:
        """End well."""

    let_fail = asyncio.Event()
    async with BackgroundTasks(end, fail) as tasks, asyncio.timeout(PATIENCE_S):
        waiting = asyncio.create_task(tasks.all_ended())
        assert await is_quiet(waiting)
        let_fail.set()
        await waiting
        with pytest.raises(RuntimeError, match="of a task"):
            await tasks.first_failure()
    async with BackgroundTasks() as none, asyncio.timeout(PATIENCE_S):
        await none.all_ended()


async def test_the_first_to_end_ends_the_others() -> None:
    """Of several waits one is over: the others are cancelled, and have ended on return."""

    async def end() -> None:
        await work.begun.wait()

    work = Work()
    async with asyncio.timeout(PATIENCE_S):
        await first_of(work(), end())
    assert work.told == 1


async def test_the_first_to_fail_is_raised() -> None:
    """What the first of several waits has raised is raised, once the others have ended."""

    async def fail() -> None:
        await work.begun.wait()
        raise RuntimeError("of a wait")

    work = Work()
    with pytest.raises(RuntimeError, match="of a wait"):
        async with asyncio.timeout(PATIENCE_S):
            await first_of(work(), fail())
    assert work.told == 1
