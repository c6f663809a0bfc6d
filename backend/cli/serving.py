"""`serve`: a server, with its worker in it, beside it, or elsewhere."""

import tempfile
from argparse import Namespace
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from aiohttp import web

from ..app import BACKGROUND_TASKS, create_app, drain
from ..llm.base import Chain
from ..runtime.background_tasks import first_of
from ..server.runner import make_runner
from ..server.static_page import create_page
from ..settings import Settings, SettingsError
from .environment import read_settings, require, require_model
from .process import announce, run_process, signals
from .worker_processes import WorkerProcesses

# Connections get so long to end by themselves; answers have had their grace before.
CONNECTION_GRACE_S = 1.0


def serve(options: Namespace) -> int:
    """Run a server to its end."""
    settings = _settings(options)
    return run_process(_serve(settings, options), settings)


def _settings(options: Namespace) -> Settings:
    settings = read_settings(
        {"HOST": options.host, "PORT": options.port, "FRONTEND_PORT": options.frontend_port}
    )
    if options.demo:
        if options.workers is not None:
            raise SettingsError("--demo is one process with everything in it, its worker too")
        return settings if options.host else replace(settings, host="127.0.0.1")
    require(settings, "REDIS_URL")
    if options.workers != 0:
        require_model(settings)
    return settings


async def _serve(settings: Settings, options: Namespace) -> None:
    async with AsyncExitStack() as stack:
        in_process = options.workers is None
        directory = tempfile.TemporaryDirectory(prefix="streaming-llm-")
        sockets = Path(stack.enter_context(directory))  # where workers answer scrapes
        app = (
            _demo_app(settings)
            if options.demo
            else create_app(settings, with_worker=in_process, workers=sockets)
        )
        with signals() as stopped:
            port = await _listen(stack, app, settings.host, settings.port)
            announce(f"Backend: http://{_shown(settings.host)}:{port}")
            if options.demo or options.with_frontend:
                page = create_page(backend_port=port)
                port = await _listen(stack, page, settings.host, settings.frontend_port)
                announce(f"Page:    http://{_shown(settings.host)}:{port}  <- open this")
            count, grace_s = options.workers or 0, settings.shutdown_grace_s
            async with WorkerProcesses(count, grace_s, sockets) as workers:
                own_failure = app[BACKGROUND_TASKS].first_failure()
                await first_of(stopped.wait(), own_failure, workers.first_failure())
                await drain(app)


def _demo_app(settings: Settings) -> web.Application:
    """The same application around an embedded Redis and the demo's model."""
    from ..llm.demo_model import demo_chain  # imports LangChain
    from ..store.embedded_redis import embedded_redis  # imports fakeredis

    async def load_chain(settings: Settings) -> Chain:
        return demo_chain()

    announce(
        "This is the demo. Embedded: a Redis in memory (answers are gone when you stop it) and\n"
        "an offline model that makes its text up. For the real thing put OPENAI_API_KEY and\n"
        "REDIS_URL into a file named .env (see .env.example) and leave out --demo."
    )
    return create_app(settings, connect=embedded_redis, load_chain=load_chain)


async def _listen(stack: AsyncExitStack, app: web.Application, host: str, port: int) -> int:
    """Start to listen; returns the port, which the system has chosen where 0 was asked for."""
    runner = make_runner(app, shutdown_timeout=CONNECTION_GRACE_S)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, host or None, port, reuse_address=True).start()
    address: tuple[str, int] = runner.addresses[0]
    return address[1]


def _shown(host: str) -> str:
    """A host that a browser on this machine can open."""
    if host in ("", "0.0.0.0", "::"):  # noqa: S104  only compared
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
