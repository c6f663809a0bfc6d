"""Ctrl-C in a client: the first one stops what is under way, the second one ends us."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .console import STOPPED, remark


@contextmanager
def interrupts(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` at the first Ctrl-C while the block lasts; the second ends the process at once.

    It belongs inside of a running event loop.
    """
    loop = asyncio.get_running_loop()
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        if interrupted:
            os._exit(STOPPED)
        interrupted = True
        remark("Stopping; Ctrl-C again ends at once")
        stop()

    loop.add_signal_handler(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
