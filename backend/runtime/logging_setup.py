"""Sets up the log of a process: one line per event, as text for people or as JSON for programs.

A line about a question begins with its id, by the template `question %s ...`. In JSON the
id is a field as well, and so is where an error was raised, but not its message, which may hold
somebody's text, or a secret.
"""

import json
import logging
from datetime import UTC, datetime

from ..protocol.errors import origin

PACKAGE = __name__.partition(".")[0]
ABOUT_A_QUESTION = "question %s"
TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"
CHATTY = ("httpx", "httpx2", "openai")  # a line for each request, with its address

logger = logging.getLogger(__name__)


def configure(log_format: str, log_level: str) -> None:
    """Write the log of this process to standard error, in this format, from this level on."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if log_format == "json" else logging.Formatter(TEXT))
    level = logging.getLevelNamesMapping()[log_level.upper()]
    # What libraries say below INFO may quote keys and questions.
    logging.basicConfig(level=max(level, logging.INFO), handlers=[handler], force=True)
    logging.getLogger(PACKAGE).setLevel(level)
    logging.captureWarnings(log_format == "json")  # else they break into the lines
    for chatty in CHATTY:
        logging.getLogger(chatty).setLevel(logging.WARNING)


def are_json() -> bool:
    """Whether the log of this process is read by programs."""
    return any(isinstance(handler.formatter, JsonLines) for handler in logging.root.handlers)


class JsonLines(logging.Formatter):
    """A JSON object a line: time, level, logger, pid, message, and what else is known."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; it holds no line break."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "message": record.getMessage(),
        }
        if isinstance(record.args, tuple) and str(record.msg).startswith(ABOUT_A_QUESTION):
            line["questionId"] = str(record.args[0])
        if record.exc_info and (exc := record.exc_info[1]):
            line["error"] = origin(exc) if exc.__traceback__ else type(exc).__name__
        return json.dumps(line)  # in ASCII: some programs take U+2028 for the end of a line
