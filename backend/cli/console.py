"""What the command line itself says, and the exit codes that scripts go by."""

import sys

OK = 0
USAGE = 2


def say(text: str) -> None:
    """Print a line on standard output at once."""
    print(text, flush=True)  # noqa: T201  the command line's own output


def complain(text: str) -> None:
    """Print a line about what is wrong on standard error."""
    print(f"error: {text}", file=sys.stderr, flush=True)  # noqa: T201
