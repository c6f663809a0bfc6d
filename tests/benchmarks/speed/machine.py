"""Where a figure was measured, and how much else went on there meanwhile."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it ships no types

PACKAGES = (
    "aiohttp", "python-socketio", "redis", "hiredis", "langchain-core", "langchain-openai",
    "openai", "uvloop",
)  # fmt: skip


def described() -> list[str]:
    """The processor, the system, and the versions of what the figures depend on."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES]
    return [
        f"{os.cpu_count()} x {_processor()}, {platform.system()} {platform.release()}",
        f"Python {platform.python_version()}, {_redis_version()}, {', '.join(versions)}",
    ]


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _redis_version() -> str:
    program = shutil.which("redis-server")
    if program is None:
        return "no redis-server"
    words = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return "Redis " + words.stdout.partition("v=")[2].partition(" ")[0]


class Others:
    """How busy everybody else keeps the machine while we measure."""

    def __init__(self) -> None:
        self._us = psutil.Process()
        self._idle_s, self._ours_s = self._now()

    def cores(self, wall_s: float) -> float:
        """How many cores others used, on average, since this was made or last asked."""
        idle_s, ours_s = self._now()
        busy_s = wall_s * (os.cpu_count() or 1) - (idle_s - self._idle_s)
        others_s = busy_s - (ours_s - self._ours_s)
        self._idle_s, self._ours_s = idle_s, ours_s
        return max(0.0, others_s / wall_s)

    def _now(self) -> tuple[float, float]:
        times = psutil.cpu_times()
        ours_s = 0.0
        for process in (self._us, *self._us.children(recursive=True)):
            try:
                used = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            ours_s += used.user + used.system
        return float(times.idle + getattr(times, "iowait", 0.0)), ours_s
