"""`worker`: takes questions until it is told to end."""

from argparse import Namespace

from ..app import run_worker
from ..settings import Settings
from .environment import read_settings, require, require_model
from .process import announce, on_eof, run_process, signals, until_first


def work(options: Namespace) -> int:
    """Run a worker to its end."""
    settings = read_settings()
    require(settings, "REDIS_URL")
    require_model(settings)
    return run_process(_work(settings, options), settings)


async def _work(settings: Settings, options: Namespace) -> None:
    with signals() as stopped:
        if options.until_eof:
            on_eof(stopped.set)
        async with run_worker(settings, metrics_socket=options.metrics_socket) as (worker, parts):
            announce("Worker:  waiting for questions")
            await until_first(stopped.wait(), parts.fault())
            await worker.drain(settings.shutdown_grace_s)
