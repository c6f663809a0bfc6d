"""The command line: one module for each command, imported once it is known to be wanted.

Stands on app; may import everything but worker.
"""

import os
import sys
from argparse import Namespace

from ..settings import SettingsError
from .arguments import parse
from .console import BROKEN_PIPE, STOPPED, USAGE, complain


def main() -> None:
    """Run a command; ends with status 2 and one line where something is set wrongly."""
    try:
        status = _run(parse(sys.argv[1:]))
    except SettingsError as exc:
        complain(str(exc))
        status = USAGE
    except KeyboardInterrupt:
        status = STOPPED
    except BrokenPipeError:
        # What waits in Python's buffer would raise the same once more, on the way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = BROKEN_PIPE
    except OSError as exc:  # the port is taken, or may not be listened on
        complain(str(exc) if exc.filename else exc.strerror or str(exc))
        status = USAGE
    sys.exit(status)


def _run(options: Namespace) -> int:
    # Each command imports what it needs: a client must not wait for what a server needs.
    match options.command:
        case "ask":
            from .asking import ask

            return ask(options)
        case "replay":
            from .replaying import replay

            return replay(options)
        case "questions":
            from .listing import questions

            return questions(options)
        case "worker":
            from .working import work

            return work(options)
        case _:
            from .serving import serve

            return serve(options)
