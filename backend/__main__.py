"""The command line: a server, a worker, or both, and how they start and end."""

import argparse
import asyncio
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvloop
from aiohttp import web
from dotenv import dotenv_values

from . import __version__
from .app import PARTS, create_app, drain, run_worker
from .page import create_page
from .run import Chain
from .settings import Settings, SettingsError
from .supervisor import supervised
from .tasks import cancel

# Connections get so long to end by themselves; answers have had their grace before.
CONNECTION_GRACE_S = 1.0
MAX_WORKERS = 64  # processes; more belong on other machines

DESCRIPTION = """\
Streams an LLM's answer to the browser through Redis Streams.

  python -m backend --demo        try it now: needs no Redis, no key, no internet
  python -m backend               server and worker in one process
  python -m backend --workers 2   a server, and two worker processes that it keeps alive
  python -m backend worker        a worker alone, on any machine that reaches the same Redis
"""

EPILOG = """\
Settings are read from the environment and from a file named .env in the working
directory; the environment wins. OPENAI_API_KEY and REDIS_URL are required, unless
with --demo. .env.example lists every setting with its default.
"""


def main() -> None:
    """Run the command line; ends with status 2 and one line where something is set wrongly."""
    options = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for chatty in ("httpx", "httpx2", "openai"):  # a line for each request, with its address
        logging.getLogger(chatty).setLevel(logging.WARNING)
    _raise_open_files()
    try:
        settings = _settings(options, _environment())
        role = _work if options.role == "worker" else _serve
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(role(settings, options))
    except SettingsError as exc:
        sys.exit(_complain(str(exc)))
    except OSError as exc:  # the port is taken, or may not be listened on
        sys.exit(_complain(str(exc) if exc.filename else exc.strerror or str(exc)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m backend",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "role",
        nargs="?",
        choices=["serve", "worker"],
        default="serve",
        help="what this process is: a server with a worker in it (default), or a worker alone",
    )
    parser.add_argument(
        "--demo",
        action="store_true",
        help="embed a Redis and an offline model, and serve the page, on this machine only",
    )
    parser.add_argument(
        "--with-frontend",
        action="store_true",
        help="serve the page as well, on FRONTEND_PORT (5400)",
    )
    parser.add_argument(
        "--workers",
        type=_worker_count,
        metavar="N",
        help="run N worker processes beside the server, instead of a worker in it; "
        "0: all workers are elsewhere",
    )
    parser.add_argument("--host", help="address to listen on (HOST; every interface)")
    parser.add_argument("--port", help="port of the backend (PORT, 3000)")
    parser.add_argument("--frontend-port", help="port of the page (FRONTEND_PORT, 5400)")
    # For the supervisor, which holds the other end: a worker must not outlive it.
    parser.add_argument("--until-eof", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--version", action="version", version=__version__)
    return parser


def _worker_count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > MAX_WORKERS:
        raise argparse.ArgumentTypeError(f"a number from 0 to {MAX_WORKERS} is expected")
    return int(text)


def _environment() -> dict[str, str]:
    from_file = {name: value or "" for name, value in dotenv_values(Path(".env")).items()}
    return from_file | dict(os.environ)


def _settings(options: argparse.Namespace, env: Mapping[str, str]) -> Settings:
    given = {
        "HOST": options.host,
        "PORT": options.port,
        "FRONTEND_PORT": options.frontend_port,
    }
    settings = Settings.from_env({**env, **{name: value for name, value in given.items() if value}})
    if options.demo:
        if options.role == "worker" or options.workers is not None:
            raise SettingsError("--demo is one process with everything in it, its worker too")
        return settings if options.host else replace(settings, host="127.0.0.1")
    needed = {"REDIS_URL": settings.redis_url}
    if options.workers != 0:
        needed["OPENAI_API_KEY"] = settings.openai_api_key
    for name, value in needed.items():
        if not value:
            raise SettingsError(
                f"{name} is not set: put it into the environment or a file named .env, "
                "or try --demo, which needs neither Redis nor a key"
            )
    return settings


async def _serve(settings: Settings, options: argparse.Namespace) -> None:
    async with AsyncExitStack() as stack:
        in_process = options.workers is None
        app = _demo_app(settings) if options.demo else create_app(settings, with_worker=in_process)
        with _signals() as stopped:
            port = await _listen(stack, app, settings.host, settings.port)
            _say(f"Backend: http://{_shown(settings.host)}:{port}")
            if options.demo or options.with_frontend:
                page = create_page(backend_port=port)
                port = await _listen(stack, page, settings.host, settings.frontend_port)
                _say(f"Page:    http://{_shown(settings.host)}:{port}  <- open this")
            async with supervised(options.workers or 0, settings.shutdown_grace_s) as workers:
                await _until_first(stopped.wait(), app[PARTS].fault(), workers.ended())
                await drain(app)


async def _work(settings: Settings, options: argparse.Namespace) -> None:
    with _signals() as stopped:
        if options.until_eof:
            _on_eof(stopped.set)
        async with run_worker(settings) as (worker, parts):
            _say("Worker:  waiting for questions")
            await _until_first(stopped.wait(), parts.fault())
            await worker.drain(settings.shutdown_grace_s)


def _demo_app(settings: Settings) -> web.Application:
    """The same application around an embedded Redis and the demo's model."""
    from .demo import demo_chain, embedded_redis  # imports LangChain and fakeredis

    async def load_chain(settings: Settings) -> Chain:
        return demo_chain()

    _say(
        "This is the demo. Embedded: a Redis in memory (answers are gone when you stop it) and\n"
        "an offline model that makes its text up. For the real thing put OPENAI_API_KEY and\n"
        "REDIS_URL into a file named .env (see .env.example) and leave out --demo."
    )
    return create_app(settings, connect=embedded_redis, load_chain=load_chain)


async def _listen(stack: AsyncExitStack, app: web.Application, host: str, port: int) -> int:
    """Start to listen; returns the port, which the system has chosen where 0 was asked for."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=CONNECTION_GRACE_S)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, host or None, port, reuse_address=True).start()
    address: tuple[str, int] = runner.addresses[0]
    return address[1]


async def _until_first(*waits: Coroutine[Any, Any, object]) -> None:
    """Wait until one of these is over; a fault is raised."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await cancel(tasks)


@contextmanager
def _signals() -> Iterator[asyncio.Event]:
    """An event that SIGTERM and Ctrl-C set; the second signal ends the process at once."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()

    def stop() -> None:
        if stopped.is_set():
            os._exit(130)
        stopped.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        yield stopped
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _on_eof(callback: Callable[[], None]) -> None:
    """Call back once, when standard input ends; nothing is ever written to it."""
    loop, standard_input = asyncio.get_running_loop(), sys.stdin.fileno()

    def ended() -> None:
        loop.remove_reader(standard_input)  # it would be reported again and again
        callback()

    loop.add_reader(standard_input, ended)


def _raise_open_files() -> None:
    """Allow as many open files as the system lets us: every socket is one, and 1,024 are few."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _shown(host: str) -> str:
    """A host that a browser on this machine can open."""
    if host in ("", "0.0.0.0", "::"):  # noqa: S104  only compared
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201  the command line's own output


def _complain(text: str) -> int:
    print(f"error: {text}", file=sys.stderr)  # noqa: T201
    return 2


if __name__ == "__main__":
    main()
