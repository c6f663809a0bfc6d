"""What servers and workers have in common as processes: log, signals, resource limits."""

import asyncio
import os
import resource
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import uvloop

from ..runtime import logging_setup
from ..runtime.gc_tuning import collect_seldom, skip_existing_objects
from ..settings import Settings
from .console import OK, say


def run_process(main: Coroutine[Any, Any, None], settings: Settings) -> int:
    """Run a server or a worker to its end; returns the exit code."""
    logging_setup.configure(settings.log_format, settings.log_level)
    _raise_open_files()
    collect_seldom()
    skip_existing_objects()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)
    return OK


def announce(text: str) -> None:
    """Say what a process does now: in its log where programs read that, else on standard output."""
    if logging_setup.are_json():
        logging_setup.logger.info("%s", text)
    else:
        say(text)


@contextmanager
def signals() -> Iterator[asyncio.Event]:
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


def on_eof(callback: Callable[[], None]) -> None:
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
