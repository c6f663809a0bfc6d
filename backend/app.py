"""Wires everything: what a server and a worker consist of, how they start and end."""

import asyncio
import os
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from .llm.base import Chain
from .llm.model_lookup import warn_of_model
from .protocol.stream_names import Streams
from .runtime.event_loop_lag import LoopLag
from .runtime.gc_tuning import keep_what_is_there
from .runtime.metrics import Metrics
from .runtime.task_groups import Parts
from .server import engineio_fixes
from .server.access import Reception
from .server.acknowledged import AcknowledgedDelivery
from .server.ask_limits import AskLimits
from .server.auth import Identity, identity_of
from .server.cors import cross_origin
from .server.delivery import Delivery, PlainDelivery
from .server.http_routes import MAX_BODY_BYTES, HttpApi, express_manners
from .server.metrics_endpoint import PATH, Exposition, answering_for_worker
from .server.question_service import Answers
from .server.socket_events import Sockets
from .settings import Settings
from .store.archive import Archive
from .store.cluster import refuse_cluster
from .store.connection import Storage, connect
from .store.records import Questions
from .store.retention import Housekeeping
from .store.stop_signals import Stops
from .store.stream_history import History
from .store.stream_tail import Tail
from .store.work_queue import WorkQueue
from .worker.attempts import Attempts
from .worker.worker import Worker
from .worker.writer import AnswerWriter

ChainLoader = Callable[[Settings], Awaitable[Chain]]
Connector = Callable[[str], Storage]


async def load_configured_chain(settings: Settings) -> Chain:
    """The chain that the settings name; raises SettingsError where it cannot be had.

    LangChain takes a second to import, so a thread does it meanwhile.
    """

    def load() -> Chain:
        from .llm.models import load_chain

        return load_chain(settings)

    chain = await asyncio.to_thread(load)
    keep_what_is_there()
    return chain


class Backend:
    """The parts of a process around one Redis, wired; nothing runs and nothing is sent yet."""

    def __init__(self, storage: Storage, settings: Settings, load_chain: ChainLoader) -> None:
        questions = Questions(storage, settings.retention_s)
        archive = Archive(storage.commands, settings.retention_s)
        history = History(storage.commands, archive)
        stops = Stops(storage)
        self.storage = storage
        self.questions = questions
        self.settings = settings
        self.metrics = Metrics()
        self.loop_lag = LoopLag(self.metrics)
        streams = Streams(settings.openai_stream)
        always = streams.shared if settings.use_xread else None
        self.tail = Tail(storage, always, self.metrics)
        self.delivery = _delivery(storage, questions, settings)
        self.writer = AnswerWriter(
            storage.writing,
            archive,
            linger_s=settings.write_linger_ms / 1000,
            keep_s=settings.keep_s,
            retention_s=settings.retention_s,
            metrics=self.metrics,
        )
        attempts = Attempts(questions, history, self.writer, self.metrics)
        self.answers = Answers(
            delivery=self.delivery,
            questions=questions,
            history=history,
            tail=self.tail,
            conclude=attempts.conclude,
            stops=stops,
            metrics=self.metrics,
        )
        self.housekeeping = Housekeeping(storage, always, settings.retention_s)
        self.worker = Worker(
            settings=settings,
            queue=WorkQueue(storage, _consumer_name()),
            questions=questions,
            attempts=attempts,
            stops=stops,
            load_chain=lambda: load_chain(settings),
            metrics=self.metrics,
        )
        self._asks_provider = load_chain is load_configured_chain

    async def look_up_model(self) -> None:
        """Warn in the log where the provider does not have the model for long; then wait."""
        if self._asks_provider:
            await warn_of_model(self.settings)
        await asyncio.Event().wait()

    async def refuse_cluster(self) -> None:
        """Raise SettingsError once Redis answers, if it is a cluster; else wait."""
        await refuse_cluster(self.storage)


def _delivery(storage: Storage, questions: Questions, settings: Settings) -> Delivery:
    """The one of the two modes that is on."""
    if settings.use_xread:
        return PlainDelivery(storage, Streams(settings.openai_stream))
    return AcknowledgedDelivery(
        storage,
        questions,
        base=settings.openai_stream,
        keep_s=settings.keep_s,
        lease_s=settings.lease_s,
    )


PARTS = web.AppKey("parts", Parts)
DRAIN: web.AppKey[Callable[[], Awaitable[None]]] = web.AppKey("drain")


def create_app(
    settings: Settings,
    *,
    with_worker: bool = True,
    connect: Connector = connect,
    load_chain: ChainLoader = load_configured_chain,
    identity: Identity | None = None,
    workers: Path | None = None,
) -> web.Application:
    """The backend as an aiohttp application: Socket.IO, HTTP, and by default a worker.

    `load_chain` gives what answers questions, `identity` tells who asks them; without
    one, the settings say. `workers` is the directory in which worker processes beside
    it answer scrapes.

    Before its runner is cleaned up, await `drain(app)`: it lets running
    answers finish while their sockets are still open.
    """
    backend = Backend(connect(settings.redis_url), settings, load_chain)
    reception = Reception(
        backend.answers,
        identity or identity_of(settings),
        AskLimits(backend.storage, backend.questions, settings),
        settings,
    )
    http = HttpApi(backend.answers, reception, backend.delivery, settings, backend.metrics)
    sio = engineio_fixes.create_socket_server(
        cors_origins=settings.origins or "*", max_message_bytes=settings.max_message_bytes
    )
    sockets = Sockets(sio, backend.answers, reception, backend.delivery, settings, backend.metrics)

    runs = [
        backend.refuse_cluster,
        backend.writer.run,
        backend.tail.run,
        backend.delivery.run,
        backend.loop_lag.run,
    ]
    if with_worker:
        runs += [backend.worker.run, backend.housekeeping.run, backend.look_up_model]
    parts = Parts(*runs)

    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[express_manners])
    cross_origin(app, settings.origins)
    app.add_routes(http.routes())
    backend.metrics.serve()
    exposition = Exposition(
        backend.metrics, backend.storage, "server", is_server=True, workers=workers
    )
    app.router.add_get(PATH, exposition.handle)
    app[PARTS] = parts

    async def run_parts(app: web.Application) -> AsyncIterator[None]:
        async with backend.storage, parts:
            yield

    async def close_readers(app: web.Application) -> None:
        await sockets.close()

    async def drain_parts() -> None:
        http.refuse_questions()
        sockets.refuse_questions()
        if with_worker:
            await backend.worker.drain(settings.shutdown_grace_s)

    app[DRAIN] = drain_parts
    app.cleanup_ctx.append(run_parts)
    app.on_shutdown.append(close_readers)  # readers first, then the sockets below them
    engineio_fixes.attach(sio, app)
    return app


async def drain(app: web.Application) -> None:
    """Refuse new questions, and let the worker finish or hand over what it has in work."""
    await app[DRAIN]()


@asynccontextmanager
async def run_worker(
    settings: Settings,
    *,
    connect: Connector = connect,
    load_chain: ChainLoader = load_configured_chain,
    metrics_socket: Path | None = None,
) -> AsyncIterator[tuple[Worker, Parts]]:
    """Run a worker, with no server, while the block lasts.

    It is scraped through `metrics_socket`, where its server gives one, else on the port
    that the settings name, if any. Raises OSError where that is taken.
    """
    backend = Backend(connect(settings.redis_url), settings, load_chain)
    parts = Parts(
        backend.refuse_cluster,
        backend.writer.run,
        backend.worker.run,
        backend.housekeeping.run,
        backend.look_up_model,
        backend.loop_lag.run,
    )
    scraped = answering_for_worker(backend.metrics, backend.storage, settings, metrics_socket)
    async with backend.storage, scraped, parts:
        yield backend.worker, parts


def _consumer_name() -> str:
    """A name that no other process has or had, so that a dead one's leases run out."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
