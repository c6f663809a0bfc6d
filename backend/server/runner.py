"""How connections are let in: no longer than they are of use, and with no words in the log."""

import logging
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from ..protocol.errors import origin

# Until the headers of a connection's next request have to be there, its first one's too.
# aiohttp's 3630 s would let anybody keep a thousand connections open with a byte an hour.
# Longer than the 60 s after which proxies let go of idle connections, so that none of them
# sends a request on one that we are about to close.
NEXT_REQUEST_S = 75.0


class _WithoutWords(logging.Filter):
    """Makes one line of what aiohttp logs with a traceback, and nothing of clients' mistakes.

    The traceback of an unreadable request quotes it, line ends included.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether there is to be a line; the record holds no words then."""
        exc = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if isinstance(exc, HttpProcessingError | web.RequestPayloadError):
            return False
        if exc:
            record.msg, record.args = "connection failed: %s", (origin(exc),)
            record.exc_info = record.exc_text = None
        return True


def make_runner(
    app: web.Application, *, next_request_s: float = NEXT_REQUEST_S, **options: Any
) -> web.AppRunner:
    """A runner of an application, with these bounds; the rest is aiohttp's to explain."""
    driver_logger = logging.getLogger(f"{__name__}.driver")
    if not driver_logger.filters:
        driver_logger.addFilter(_WithoutWords())
    return web.AppRunner(
        app, access_log=None, logger=driver_logger, keepalive_timeout=next_request_s, **options
    )
