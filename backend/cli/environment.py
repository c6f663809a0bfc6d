"""The settings of a process, read from the environment and .env, and checked for what it needs."""

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values

from ..settings import NEEDS_PROVIDERS, Settings, SettingsError


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


def require_model(settings: Settings) -> None:
    """Raise SettingsError where what the model needs is missing, as far as a glance tells.

    A server of one's own needs no key; other providers have keys of their own, and packages.
    """
    if settings.model_provider == "openai":
        if not settings.openai_base_url:
            require(settings, "OPENAI_API_KEY")
    elif importlib.util.find_spec("langchain") is None:
        raise SettingsError(NEEDS_PROVIDERS)
