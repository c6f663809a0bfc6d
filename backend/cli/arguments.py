"""What may be typed behind `python -m backend`."""

import argparse
from collections.abc import Sequence

from .. import __version__

MAX_WORKERS = 64  # processes; more belong on other machines

DESCRIPTION = """\
Streams an LLM's answer to the browser through Redis Streams.

  python -m backend --demo        try it now: needs no Redis, no key, no internet
  python -m backend               server and worker in one process
  python -m backend --workers 2   a server, and two worker processes that it keeps alive
  python -m backend worker        a worker alone, on any machine that reaches the same Redis
"""

EPILOG = """\
Without a command, `serve` is meant: see `python -m backend serve --help`.

Settings are read from the environment and from a file named .env in the working
directory; the environment wins. OPENAI_API_KEY and REDIS_URL are required, unless
with --demo. .env.example lists every setting with its default.
"""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read a command line, whose `command` is filled in; exits with status 2 where it is wrong."""
    first = arguments[0] if arguments else ""
    if not first or (first.startswith("-") and first not in ("-h", "--help", "--version")):
        arguments = ["serve", *arguments]
    return _parser().parse_args(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m backend",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    _add_serve(commands.add_parser("serve", help="a server, with a worker in it (default)"))
    _add_worker(commands.add_parser("worker", help="a worker alone"))
    return parser


def _add_serve(parser: argparse.ArgumentParser) -> None:
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


def _add_worker(parser: argparse.ArgumentParser) -> None:
    # For the supervisor, which holds the other end: a worker must not outlive it.
    parser.add_argument("--until-eof", action="store_true", help=argparse.SUPPRESS)


def _worker_count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > MAX_WORKERS:
        raise argparse.ArgumentTypeError(f"a number from 0 to {MAX_WORKERS} is expected")
    return int(text)
