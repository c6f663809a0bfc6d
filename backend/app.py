"""Wires the parts: what a server and a worker consist of, how they start and end."""

import asyncio
import functools
import os
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from .llm.base import Chain
from .llm.model_lookup import warn_of_model
from .runtime.background_tasks import BackgroundTasks
from .runtime.event_loop_lag import EventLoopLag
from .runtime.gc_tuning import skip_existing_objects
from .runtime.metrics import Metrics
from .server import engineio_fixes
from .server.access import Access
from .server.ask_limits import AskLimits
from .server.auth import Identity, identity_of
from .server.consumer_groups.http_routes import GroupHttpRoutes
from .server.consumer_groups.subscriptions import GroupSubscriptions
from .server.consumer_groups.user_groups import UserGroups
from .server.cors import allow_origins
from .server.http_routes import MAX_BODY_BYTES, HttpRoutes, express_errors
from .server.metrics_endpoint import PATH, MetricsEndpoint, serve_worker_metrics
from .server.question_service import QuestionService
from .server.socket_events import SocketEvents
from .server.socket_outbox import SocketOutbox
from .server.subscriptions import Subscriptions
from .settings import Settings
from .store.answer_log import AnswerLog
from .store.cluster import refuse_cluster
from .store.connection import Storage, connect
from .store.records import Records
from .store.retention import Retention
from .store.stop_signals import StopSignals
from .store.stream_tail import StreamTail, newest_id
from .store.work_queue import WorkQueue
from .worker.attempts import Attempts
from .worker.worker import Worker
from .worker.writer import AnswerWriter

ChainLoader = Callable[[Settings], Awaitable[Chain]]
Run = Callable[[], Coroutine[Any, Any, None]]  # what a background task does
Connector = Callable[[str], Storage]


async def load_configured_chain(settings: Settings) -> Chain:
    """The chain that the settings name; raises SettingsError where it cannot be had.

    LangChain takes a second to import, so a thread does it meanwhile.
    """

    def load() -> Chain:
        from .llm.models import load_chain

        return load_chain(settings)

    chain = await asyncio.to_thread(load)
    skip_existing_objects()
    return chain


class SharedParts:
    """What servers and workers have in common. Nothing runs yet, and nothing is sent."""

    def __init__(self, storage: Storage, settings: Settings) -> None:
        self.settings = settings
        self.storage = storage
        self.metrics = Metrics()
        self.questions = Records(storage, settings.retention_s)
        self.log = AnswerLog(storage.commands)
        self.stops = StopSignals(storage)
        self.writer = AnswerWriter(
            storage.writing,
            linger_s=settings.write_linger_ms / 1000,
            keep_s=settings.keep_s,
            retention_s=settings.retention_s,
            metrics=self.metrics,
        )
        self.attempts = Attempts(self.questions, self.log, self.writer, self.metrics)
        self.runs: list[Run] = [
            functools.partial(refuse_cluster, storage),
            self.writer.run,
            EventLoopLag(self.metrics).run,
        ]


class ServerParts:
    """What a server consists of besides: it takes questions and follows their answers."""

    def __init__(self, shared: SharedParts) -> None:
        storage, settings = shared.storage, shared.settings
        self.groups = None if settings.use_xread else _user_groups(shared)
        self.tail = StreamTail(storage, settings.streams.shared, shared.metrics)
        self.answers = QuestionService(
            streams=settings.streams,
            prepare=self.groups.prepare if self.groups else functools.partial(newest_id, storage),
            questions=shared.questions,
            log=shared.log,
            tail=self.tail,
            conclude=shared.attempts.conclude,
            stops=shared.stops,
            metrics=shared.metrics,
        )
        self.runs: list[Run] = [self.tail.run, *([self.groups.run] if self.groups else [])]


class Transports:
    """How clients reach a server: HTTP and Socket.IO."""

    def __init__(self, shared: SharedParts, server: ServerParts, identity: Identity) -> None:
        settings, metrics, groups = shared.settings, shared.metrics, server.groups
        limits = AskLimits(shared.storage, shared.questions, settings)
        access = Access(server.answers, identity, limits, settings)
        self.sio = engineio_fixes.create_socket_server(
            cors_origins=settings.origins or "*", max_message_bytes=settings.max_message_bytes
        )
        outbox = SocketOutbox(self.sio)
        most = settings.max_followed_per_socket
        self.http: HttpRoutes
        subscriptions: Subscriptions
        if groups:
            self.http = GroupHttpRoutes(
                server.answers, access, settings, metrics=metrics, groups=groups
            )
            subscriptions = GroupSubscriptions(
                server.answers, outbox, max_per_socket=most, groups=groups
            )
        else:
            self.http = HttpRoutes(server.answers, access, settings, metrics=metrics)
            subscriptions = Subscriptions(server.answers, outbox, max_per_socket=most)
        self.sockets = SocketEvents(
            self.sio, access, subscriptions, outbox, settings, metrics=metrics
        )


class WorkerParts:
    """What a worker consists of besides: it answers the questions."""

    def __init__(self, shared: SharedParts, load_chain: ChainLoader) -> None:
        settings = shared.settings
        self.worker = Worker(
            settings=settings,
            queue=WorkQueue(shared.storage, _consumer_name()),
            questions=shared.questions,
            attempts=shared.attempts,
            stops=shared.stops,
            load_chain=functools.partial(load_chain, settings),
            metrics=shared.metrics,
        )
        retention = Retention(shared.storage, settings.streams.shared, settings.retention_s)
        self.runs: list[Run] = [self.worker.run, retention.run]
        if load_chain is load_configured_chain:
            self.runs.append(functools.partial(warn_of_model, settings))


def _user_groups(shared: SharedParts) -> UserGroups:
    settings = shared.settings
    return UserGroups(
        shared.storage,
        shared.questions,
        base=settings.openai_stream,
        keep_s=settings.keep_s,
        lease_s=settings.lease_s,
    )


BACKGROUND_TASKS = web.AppKey("background_tasks", BackgroundTasks)
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
    shared = SharedParts(connect(settings.redis_url), settings)
    server = ServerParts(shared)
    worker = WorkerParts(shared, load_chain) if with_worker else None
    tasks = BackgroundTasks(*shared.runs, *server.runs, *(worker.runs if worker else ()))

    clients = Transports(shared, server, identity or identity_of(settings))
    shared.metrics.serve()
    endpoint = MetricsEndpoint(
        shared.metrics, shared.storage, "server", is_server=True, workers=workers
    )

    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[express_errors])
    allow_origins(app, settings.origins)
    app.add_routes([*clients.http.routes(), web.get(PATH, endpoint.handle)])

    async def run(app: web.Application) -> AsyncIterator[None]:
        async with shared.storage, tasks:
            yield

    async def close_subscriptions(app: web.Application) -> None:
        await clients.sockets.close()

    async def drain() -> None:
        clients.http.refuse_questions()
        clients.sockets.refuse_questions()
        if worker:
            await worker.worker.drain(settings.shutdown_grace_s)

    app[BACKGROUND_TASKS] = tasks
    app[DRAIN] = drain
    app.cleanup_ctx.append(run)
    app.on_shutdown.append(close_subscriptions)  # they first, then the sockets below them
    engineio_fixes.attach(clients.sio, app)
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
) -> AsyncIterator[tuple[Worker, BackgroundTasks]]:
    """Run a worker, with no server, while the block lasts.

    It is scraped through `metrics_socket`, where its server gives one, else on the port
    that the settings name, if any. Raises OSError where that is taken.
    """
    shared = SharedParts(connect(settings.redis_url), settings)
    parts = WorkerParts(shared, load_chain)
    scraped = serve_worker_metrics(shared.metrics, shared.storage, settings, metrics_socket)
    async with shared.storage, scraped, BackgroundTasks(*shared.runs, *parts.runs) as tasks:
        yield parts.worker, tasks


def _consumer_name() -> str:
    """A name that no other process has or had, so that a dead one's leases run out."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
