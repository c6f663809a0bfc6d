"""GET /metrics: a process, and the worker processes beside it, in Prometheus's text format.

Every series has the label `process`: `server`, `worker`, or `worker-<n>` for the n-th of
`--workers`. A worker that is restarted begins at 0 under the same name, which rate() takes
for what it is: a counter reset. So nothing is stored or added up here, and nothing is counted
twice where several servers are scraped: workers elsewhere have a port of their own.

prometheus_client's multiprocess mode would do less: it adds counters up over the processes,
and has neither gauges that are computed nor the process and garbage collectors.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ..runtime.metrics import PREFIX, Metrics
from ..settings import Settings
from ..store import work_queue
from ..store.connection import STORAGE_ERRORS, Storage
from ..store.failures import KINDS

PATH = "/metrics"
TIMEOUT_S = 1.0  # for a worker, and for Redis; Prometheus itself waits for 10 s by default
SOCKETS = "worker-*.sock"  # Unix sockets, so that no worker needs a free port

logger = logging.getLogger(__name__)


class MetricsEndpoint:
    """Answers scrapes of a process, whose series have `process` as a label.

    A server (`is_server`) includes the queue, and its worker processes: `workers` is the
    directory of their sockets, which are named by `socket_of`.
    """

    def __init__(
        self,
        metrics: Metrics,
        storage: Storage,
        process: str,
        *,
        is_server: bool = False,
        workers: Path | None = None,
    ) -> None:
        self._metrics = metrics
        self._storage = storage
        self._process = process
        self._is_server = is_server
        self._workers = workers

    async def handle(self, request: web.Request) -> web.Response:
        """Answer a scrape; a worker that does not answer in time is down, and left out."""
        sockets = sorted(self._workers.glob(SOCKETS)) if self._workers else []
        queue, texts = await asyncio.gather(self._queue(), asyncio.gather(*map(_fetch, sockets)))
        own = [*self._metrics.registry.collect(), self._failures(), _up(1), *queue]
        workers = [
            text or _text([_up(0)], socket.stem)
            for socket, text in zip(sockets, texts, strict=True)
        ]
        body = join_expositions([_text(own, self._process), *workers])
        return web.Response(body=body.encode(), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    async def _queue(self) -> list[Metric]:
        """What the queue holds, as Redis says now; the same on every server."""
        if not self._is_server:
            return []
        up = GaugeMetricFamily(f"{PREFIX}_redis_up", "Whether Redis answers this server")
        queued = GaugeMetricFamily(
            f"{PREFIX}_questions_queued", "Questions that no worker has taken yet, in all"
        )
        try:
            async with asyncio.timeout(TIMEOUT_S):
                queued.add_metric([], await work_queue.waiting(self._storage.pipelining))
            up.add_metric([], 1)
        except STORAGE_ERRORS:
            up.add_metric([], 0)
        return [up, queued]

    def _failures(self) -> Metric:
        errors = CounterMetricFamily(
            f"{PREFIX}_redis_errors", "Commands and pipelines that Redis failed", labels=["kind"]
        )
        for kind in KINDS:
            errors.add_metric([kind], self._storage.failures[kind])
        return errors


class _Labelled(Collector):
    """Families with a label more, and without the times at which counters were made."""

    def __init__(self, families: Iterable[Metric], process: str) -> None:
        self._families = families
        self._process = process

    def collect(self) -> Iterator[Metric]:
        for family in self._families:
            labelled = Metric(family.name, family.documentation, family.type)
            labelled.samples = [
                sample._replace(labels={**sample.labels, "process": self._process})
                for sample in family.samples
                if not sample.name.endswith("_created")
            ]
            yield labelled


def _text(families: Iterable[Metric], process: str) -> str:
    return generate_latest(_Labelled(families, process)).decode()


def _up(value: int) -> Metric:
    return GaugeMetricFamily(f"{PREFIX}_process_up", "Whether a process answers", value)


def join_expositions(texts: Iterable[str]) -> str:
    """Make one exposition of several: the format wants all samples of a family together."""
    families: dict[str, list[str]] = {}
    for text in texts:
        for family in text.split("# HELP ")[1:]:
            about, kind, samples = family.split("\n", 2)
            families.setdefault(f"# HELP {about}\n{kind}\n", []).append(samples)
    return "".join(heading + "".join(samples) for heading, samples in families.items())


async def _fetch(socket: Path) -> str:
    """What a worker process says; nothing where it does not answer."""
    try:
        connector = aiohttp.UnixConnector(str(socket))
        async with (
            asyncio.timeout(TIMEOUT_S),
            aiohttp.ClientSession(connector=connector, raise_for_status=True) as http,
            http.get(f"http://worker{PATH}") as response,
        ):
            return await response.text()
    except (TimeoutError, OSError, aiohttp.ClientError) as exc:
        logger.debug("%s does not answer (%s)", socket.stem, type(exc).__name__)
        return ""


def socket_of(directory: Path, number: int) -> Path:
    """Where the worker process with this number, from 1, answers scrapes."""
    return directory / SOCKETS.replace("*", str(number))


@asynccontextmanager
async def serve_worker_metrics(
    metrics: Metrics, storage: Storage, settings: Settings, socket: Path | None
) -> AsyncIterator[None]:
    """Answer scrapes of a worker while the block lasts.

    They come through the socket that its server has given it, else to the port that the
    settings name, if any. Raises OSError where that is taken.
    """
    endpoint = MetricsEndpoint(metrics, storage, socket.stem if socket else "worker")
    app = web.Application()
    app.router.add_get(PATH, endpoint.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=TIMEOUT_S)
    await runner.setup()
    host, port = settings.host or None, settings.worker_metrics_port
    try:
        if socket:
            await web.UnixSite(runner, socket).start()
        elif port:
            await web.TCPSite(runner, host, port, reuse_address=True).start()
        yield
    finally:
        await runner.cleanup()
