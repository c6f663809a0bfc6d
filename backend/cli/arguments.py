"""What may be typed behind `python -m backend`."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from ..protocol.entries import Status
from ..runtime.version import __version__

MAX_WORKERS = 64  # processes; more belong on other machines

DESCRIPTION = """\
Streams an LLM's answer to the browser through Redis Streams.

  python -m backend --demo        try it now: needs no Redis, no key, no internet
  python -m backend               server and worker in one process
  python -m backend --workers 2   a server, and two worker processes that it keeps alive
  python -m backend worker        a worker alone, on any machine that reaches the same Redis
  python -m backend ask "Why?"    a client: the answer streams into the terminal
  python -m backend questions     for operators: what was asked lately
  python -m backend replay <id>   for operators: an answer that Redis has
"""

EPILOG = """\
Without a command, `serve` is meant: see `python -m backend serve --help`.

The settings of a server are read from the environment and from a file named .env in the working
directory; the environment wins. REDIS_URL is required, and OPENAI_API_KEY where OpenAI
itself is asked, unless with --demo. .env.example lists every setting with its default.
"""

ASK_EPILOG = """\
Standard output carries the answer and nothing else; what the model thinks goes to
standard error. Ctrl-C stops the answer on the server; a second Ctrl-C leaves at once.
After a lost connection it reconnects, and resumes the answer.

With --json there is one object in the end: questionId, status (done, stopped, failed,
refused, unreachable, timeout), text, reasoning (what the model thought; empty with
--no-stream), error ({code, message, retryable} or null, perhaps with retryAfterS),
finishReason, usage ({inputTokens, outputTokens, reasoningTokens}, each where the
provider tells it, or null), model (as the provider names it, or null), attempt,
firstPieceMs (of the answer itself), totalMs.

exit codes:
  0    done; also where the model's limit cut the answer, with a remark on standard error
  1    failed: the answer broke off, or there is none
  2    wrong arguments
  3    refused: the server did not take the question
  4    unreachable: no server, not for long enough, or one that keeps silent
  5    --timeout has passed; the server goes on answering
  6    done, but a worker died on the way: in a pipe or a file, where nothing can be taken
       back, the answer stands behind the text of the attempt that broke off
  130  stopped, by Ctrl-C or by somebody else
  141  nobody reads the output any more, as behind `| head`
"""

ASK_TIMEOUT_S = 1200.0  # ANSWER_TIMEOUT_S of the server
MAX_TIMEOUT_S = 86_400.0
MAX_LIMIT = 1_000  # questions in a list


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
    _add_ask(
        commands.add_parser(
            "ask",
            help="a client: ask a server, and print the answer while it comes",
            epilog=ASK_EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )
    _add_replay(
        commands.add_parser("replay", help="for operators: print an answer that stands in Redis")
    )
    _add_questions(
        commands.add_parser("questions", help="for operators: list what was asked lately")
    )
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
    # For the supervisor as well: where its server asks for this worker's metrics.
    parser.add_argument("--metrics-socket", type=Path, help=argparse.SUPPRESS)


def _add_ask(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("question", help="the question; - reads it from standard input")
    parser.add_argument("--topic", default="Redis", help="what the question is about (Redis)")
    parser.add_argument(
        "--url", help="address of the server (BACKEND_URL, or http://127.0.0.1:3000)"
    )
    parser.add_argument(
        "--token",
        help="for a server that wants one; better in BACKEND_TOKEN, where `ps` does not show it",
    )
    parser.add_argument("--no-stream", action="store_true", help="wait for the whole answer (POST)")
    parser.add_argument("--json", action="store_true", help="print one JSON object in the end")
    _add_no_reasoning(parser)
    parser.add_argument(
        "--timeout",
        type=_timeout,
        default=ASK_TIMEOUT_S,
        metavar="S",
        help=f"seconds to wait for the end of the answer ({ASK_TIMEOUT_S:.0f})",
    )


def _add_replay(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", help="the id of the question")
    parser.add_argument(
        "--follow", action="store_true", help="wait for the end of an answer that is being written"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object in the end")
    _add_no_reasoning(parser)


def _add_no_reasoning(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-reasoning",
        dest="reasoning",
        action="store_false",
        help="do not show what the model thinks, which otherwise stands dimmed on standard error",
    )


def _add_questions(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--status", choices=get_args(Status), help="only those in this state")
    parser.add_argument(
        "--limit",
        type=_limit,
        default=20,
        metavar="N",
        help=f"at most so many (20; up to {MAX_LIMIT})",
    )
    parser.add_argument("--words", action="store_true", help="show topics and questions, too")
    parser.add_argument("--json", action="store_true", help="print a JSON object a line")


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= MAX_LIMIT:
        raise argparse.ArgumentTypeError(f"a number from 1 to {MAX_LIMIT} is expected")
    return int(text)


def _timeout(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= MAX_TIMEOUT_S:
        raise argparse.ArgumentTypeError(f"seconds, up to {MAX_TIMEOUT_S:.0f}, are expected")
    return seconds


def _worker_count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > MAX_WORKERS:
        raise argparse.ArgumentTypeError(f"a number from 0 to {MAX_WORKERS} is expected")
    return int(text)
