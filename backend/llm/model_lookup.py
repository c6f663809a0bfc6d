"""Asks the provider once, in the background, whether it has the model, and for how long still.

It only ever warns: many servers do not have this route, and an answer would tell as well.
"""

import asyncio
import json
import logging
import re
from typing import Any
from urllib.parse import quote

import aiohttp

from ..settings import Settings

OPENAI_URL = "https://api.openai.com/v1"
LOOKUP_TIMEOUT_S = 10.0  # for both requests; nobody waits for them
MAX_BODY_BYTES = 4_194_304  # a provider with thousands of models lists them in two megabytes

_DATE = re.compile(r"[0-9][0-9T:.Z+\- ]{0,31}")

logger = logging.getLogger(__name__)


async def warn_of_model(settings: Settings) -> None:
    """Log a warning where the provider does not know the model, or will shut it down."""
    if settings.model_provider != "openai":
        return  # others have other routes
    try:
        async with asyncio.timeout(LOOKUP_TIMEOUT_S), aiohttp.ClientSession(trust_env=True) as http:
            warning = await _look(_Provider(http, settings), settings.model_name)
    except (OSError, ValueError, RecursionError, aiohttp.ClientError) as exc:
        logger.debug("the provider does not tell about its models (%s)", type(exc).__name__)
        return
    if warning:
        name, setting = settings.model_name, settings.model_setting
        logger.warning("model %s of %s %s", name, setting, warning)


class _Provider:
    """The provider's routes about models."""

    def __init__(self, http: aiohttp.ClientSession, settings: Settings) -> None:
        self._http = http
        base, _, query = (settings.openai_base_url or OPENAI_URL).partition("?")
        self._base, self._query = base.rstrip("/"), query and f"?{query}"
        key = settings.openai_api_key
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    async def get(self, path: str) -> tuple[int, Any]:
        """The status and the JSON of a route; raises ValueError where it is none."""
        url = f"{self._base}{path}{self._query}"
        # Redirects would take the key to wherever they lead.
        async with self._http.get(url, headers=self._headers, allow_redirects=False) as response:
            body = bytearray()
            async for data in response.content.iter_any():
                body += data
                if len(body) > MAX_BODY_BYTES:
                    raise ValueError("too long")
            return response.status, json.loads(body)


async def _look(provider: _Provider, name: str) -> str:
    """What there is to warn of; empty where there is nothing, or the provider does not tell."""
    status, told = await provider.get(f"/models/{quote(name, safe='/:')}")
    if status == 200 and isinstance(told, dict):
        date = str(told.get("shutdown_date") or "")
        return f"is shut down by its provider on {date}" if _DATE.fullmatch(date) else ""
    if status == 404 and (_code(told) == "model_not_found" or await _is_missing(provider, name)):
        return "is not known to its provider"
    return ""


async def _is_missing(provider: _Provider, name: str) -> bool:
    """Whether the provider lists its models, and this one is none of them.

    A 404 alone may also mean that there is no such route.
    """
    status, told = await provider.get("/models")
    listed = told.get("data") if status == 200 and isinstance(told, dict) else None
    if not isinstance(listed, list):
        return False
    names = {model.get("id") for model in listed if isinstance(model, dict)}
    return bool(names) and name not in names


def _code(told: Any) -> Any:
    error = told.get("error") if isinstance(told, dict) else None
    return error.get("code") if isinstance(error, dict) else None
