"""The output of the command line itself, and its exit codes."""

import sys

OK = 0  # for a client: the answer is whole, or cut at a limit of the model's
FAILED = 1  # the answer broke off, or there is none any more
USAGE = 2  # wrong arguments or settings
REFUSED = 3  # the server did not take the question
UNREACHABLE = 4  # no server, or no Redis, that can be talked to
TIMED_OUT = 5  # --timeout has passed
RESTARTED = 6  # the answer follows the text of a failed attempt, in a pipe or a file
STOPPED = 130  # by Ctrl-C, or by somebody else
BROKEN_PIPE = 141  # nobody reads our output any more; what the shell makes of SIGPIPE

# Control characters, which could move the cursor or make a terminal do something: text of a
# model, or of a user, must not.
_NO_CONTROLS = dict.fromkeys({*range(0x20), *range(0x7F, 0xA0)} - {ord("\n"), ord("\t")})


def printable(text: str) -> str:
    """The text without control characters."""
    return text.translate(_NO_CONTROLS)


def say(text: str) -> None:
    """Print a line on standard output at once."""
    print(text, flush=True)  # noqa: T201  the command line's own output


def remark(text: str) -> None:
    """Print a line on standard error, beside the output."""
    print(printable(text), file=sys.stderr, flush=True)  # noqa: T201


def complain(text: str) -> None:
    """Print a line about what is wrong on standard error."""
    remark(f"error: {text}")
