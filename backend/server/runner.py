"""aiohttp's runner with a keep-alive timeout, and a log without text that clients sent."""

import logging
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from ..protocol.errors import origin

# Until the headers of a connection's next request have to be there, its first one's too.
# aiohttp's 3630 s would let anybody keep a thousand connections open with a byte an hour.
# Longer than the 60 s after which proxies let go of idle connections, so that none of them
# sends a request on one that we are about to close.
KEEP_ALIVE_S = 75.0


class _Redaction(logging.Filter):
    """Makes one line of what aiohttp logs with a traceback, and nothing of clients' mistakes.

    The traceback of an unreadable request quotes it, line ends included.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log the record, which holds no text of a client's any more."""
        exc = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if isinstance(exc, HttpProcessingError | web.RequestPayloadError):
            return False
        if exc:
            record.msg, record.args = "connection failed: %s", (origin(exc),)
            record.exc_info = record.exc_text = None
        return True


def make_runner(
    app: web.Application, *, keep_alive_s: float = KEEP_ALIVE_S, **options: Any
) -> web.AppRunner:
    """A runner that closes idle connections after `keep_alive_s`; `options` are AppRunner's."""
    driver_logger = logging.getLogger(f"{__name__}.driver")
    if not driver_logger.filters:
        driver_logger.addFilter(_Redaction())
    return web.AppRunner(
        app, access_log=None, logger=driver_logger, keepalive_timeout=keep_alive_s, **options
    )
