"""A worker: takes questions from the queue and keeps the leases of those it has in work.

Three tasks: intake takes new questions, the heartbeat renews leases and claims
the questions of dead workers, and one listens for stops. Each job is a JobRun.
"""

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable, Callable

from redis.exceptions import ResponseError

from ..llm.base import Chain
from ..runtime import background_tasks
from ..runtime.background_tasks import BackgroundTasks
from ..runtime.metrics import Metrics
from ..settings import Settings
from ..store.connection import STORAGE_ERRORS, Backoff, insist
from ..store.records import Records
from ..store.stop_signals import StopSignals
from ..store.work_queue import RELEASED_IDLE_MS, Job, WorkQueue
from .attempts import Attempts
from .job import JobRun

HEARTBEATS_PER_LEASE = 10
TAKE_AT_ONCE = 8  # questions a take; the rest is left to other workers
CLAIM_AT_ONCE = 32  # entries a command: Redis looks at ten times as many to find them
UNWIND_S = 2.0  # an aborted run has this long to close its connection to the provider

logger = logging.getLogger(__name__)


class Worker:
    """Answers questions until it is drained. `load_chain` is called once, when it starts."""

    def __init__(
        self,
        *,
        settings: Settings,
        queue: WorkQueue,
        questions: Records,
        attempts: Attempts,
        stops: StopSignals,
        load_chain: Callable[[], Awaitable[Chain]],
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._queue = queue
        self._questions = questions
        self._attempts = attempts
        self._stops = stops
        self._load_chain = load_chain
        self._metrics = metrics
        self._metrics.running.set_function(lambda: len(self._runs))
        self._runs: dict[str, JobRun] = {}  # by the id of their queue entry
        self._works: dict[str, asyncio.Task[None]] = {}
        self._taking: asyncio.Task[list[Job]] | None = None
        self._changed = asyncio.Event()  # a run has ended
        self._draining = False
        self._steady_since = float("inf")  # monotonic time of the first of unbroken heartbeats

    async def run(self) -> None:
        """Work until cancelled; what is in work then stays pending for others to claim."""
        chain = await self._load_chain()
        await insist(self._queue.create_group)
        try:
            async with BackgroundTasks(
                functools.partial(self._intake, chain),
                functools.partial(self._heartbeat, chain),
                self._listen_for_stops,
            ) as tasks:
                await tasks.first_failure()
        finally:
            await background_tasks.cancel(self._works.values())
            await chain.aclose()

    async def drain(self, grace_s: float) -> None:
        """Take nothing new, and return once nothing is in work any more.

        Answers that are not finished within `grace_s` are handed over: another
        worker begins them anew at once.
        """
        self._draining = True
        if self._taking:
            self._taking.cancel()
        try:
            async with asyncio.timeout(grace_s):
                await self._all_ended()
        except TimeoutError:
            logger.info("handing over %d questions", len(self._runs))
        for run in self._runs.values():
            run.interrupt("handed over")
        try:
            async with asyncio.timeout(UNWIND_S):
                await self._all_ended()
                await self._queue.release_all()  # what a cancelled take may have brought
        except STORAGE_ERRORS as exc:
            logger.warning("left with questions pending (%s)", type(exc).__name__)

    async def _intake(self, chain: Chain) -> None:
        backoff = Backoff()
        while True:
            free = self._settings.worker_concurrency - len(self._runs)
            if free <= 0 or self._draining:
                await self._next_change()
                continue
            self._taking = asyncio.create_task(self._queue.take(min(free, TAKE_AT_ONCE)))
            try:
                await asyncio.wait({self._taking})
                if not self._taking.cancelled():
                    self._begin(self._taking.result(), chain)
                    backoff.reset()
            except STORAGE_ERRORS as exc:
                await self._recover(exc, backoff)
            finally:
                await background_tasks.cancel([self._taking])

    async def _heartbeat(self, chain: Chain) -> None:
        beat_s = self._settings.lease_s / HEARTBEATS_PER_LEASE
        backoff = Backoff()
        while True:
            try:
                await self._renew()
                if not self._draining:
                    await self._claim(chain)
            except STORAGE_ERRORS as exc:
                self._steady_since = float("inf")
                await self._recover(exc, backoff)
                continue
            backoff.reset()
            await asyncio.sleep(beat_s)

    async def _renew(self) -> None:
        """Renew every lease, and find out what was lost or is to be stopped."""
        runs = list(self._runs.values())
        await self._queue.renew([run.job.entry_id for run in runs])
        begun = [run for run in runs if run.attempt]
        records = await self._questions.read_many(run.job.question_id for run in begun)
        for run, record in zip(begun, records, strict=True):
            if not run.attempt:
                continue
            if record is None or record.owner != run.attempt.record.owner:
                run.interrupt("lost")
            elif record.stop:
                run.interrupt("stopped")

    async def _claim(self, chain: Chain) -> None:
        """Take over what was handed over, and what dead workers have left.

        After an outage of Redis every lease looks lapsed, while the workers are
        alive and about to renew. So only a worker that has itself been in
        touch with Redis for a whole lease calls another one dead.
        """
        now = time.monotonic()
        self._steady_since = min(self._steady_since, now)
        steady = now - self._steady_since >= self._settings.lease_s
        idle_ms = round(self._settings.lease_s * 1000) if steady else RELEASED_IDLE_MS
        while (free := self._settings.worker_concurrency - len(self._runs)) > 0:
            count = min(free, CLAIM_AT_ONCE)
            claimed = await self._queue.claim(idle_ms, count)
            self._begin(claimed, chain)
            if len(claimed) < count:
                return

    async def _recover(self, exc: BaseException, backoff: Backoff) -> None:
        backoff.log(exc)
        await backoff.wait()
        if isinstance(exc, ResponseError):  # NOGROUP, UNBLOCKED: Redis was emptied
            await insist(self._queue.create_group)

    async def _listen_for_stops(self) -> None:
        async for question_id in self._stops.listen():
            for run in self._runs.values():
                if run.job.question_id == question_id:
                    run.interrupt("stopped")

    def _begin(self, jobs: list[Job], chain: Chain) -> None:
        """Start to work on what the queue has given; on what came too late, others will."""
        for job in jobs:
            if not self._draining and job.entry_id not in self._runs:
                run = JobRun(
                    job,
                    settings=self._settings,
                    queue=self._queue,
                    attempts=self._attempts,
                    chain=chain,
                    metrics=self._metrics,
                )
                self._runs[job.entry_id] = run
                self._works[job.entry_id] = asyncio.create_task(self._work(run))

    async def _work(self, run: JobRun) -> None:
        try:
            await run.work()
        finally:
            del self._runs[run.job.entry_id], self._works[run.job.entry_id]
            self._changed.set()

    async def _next_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def _all_ended(self) -> None:
        while self._runs:
            await self._next_change()
