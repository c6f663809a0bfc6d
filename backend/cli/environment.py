"""The settings of a process: from the environment, from .env, and checked for what it needs."""

import os
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values

from ..settings import Settings, SettingsError


def read_settings(given: Mapping[str, str | None] | None = None) -> Settings:
    """Read every setting; `given` on the command line wins. Raises SettingsError."""
    from_file = {name: value or "" for name, value in dotenv_values(Path(".env")).items()}
    typed = {name: value for name, value in (given or {}).items() if value}
    return Settings.from_env({**from_file, **os.environ, **typed})


def require(settings: Settings, *names: str) -> None:
    """Raise SettingsError, naming the variable, where one of these is not set."""
    for name in names:
        if not getattr(settings, name.lower()):
            raise SettingsError(
                f"{name} is not set: put it into the environment or a file named .env, "
                "or try --demo, which needs neither Redis nor a key"
            )
