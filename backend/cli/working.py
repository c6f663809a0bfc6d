"""`worker`: answers questions until it is told to end."""

from argparse import Namespace

from ..app import run_worker
from ..runtime.background_tasks import first_of
from ..settings import Settings
from .environment import read_settings, require, require_model
from .process import announce, on_eof, run_process, signals


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
        async with run_worker(settings, metrics_socket=options.metrics_socket) as (worker, tasks):
            announce("Worker:  waiting for questions")
            await first_of(stopped.wait(), tasks.first_failure())
            await worker.drain(settings.shutdown_grace_s)
