"""`worker`: takes questions until it is told to end."""

from argparse import Namespace

from ..app import run_worker
from ..settings import Settings
from .console import say
from .environment import read_settings, require
from .process import on_eof, run_process, signals, until_first


def work(options: Namespace) -> int:
    """Run a worker to its end."""
    settings = read_settings()
    require(settings, "REDIS_URL", "OPENAI_API_KEY")
    return run_process(_work(settings, until_eof=options.until_eof))


async def _work(settings: Settings, *, until_eof: bool) -> None:
    with signals() as stopped:
        if until_eof:
            on_eof(stopped.set)
        async with run_worker(settings) as (worker, parts):
            say("Worker:  waiting for questions")
            await until_first(stopped.wait(), parts.fault())
            await worker.drain(settings.shutdown_grace_s)
