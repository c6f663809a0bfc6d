"""The log: a line a fact, in either format, and nobody's words in it."""

import ast
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.runtime import logging_setup

BACKEND = Path(logging_setup.__file__).parents[1]
PRIVATE = "sk-nobody-may-see-this"
METHODS = {"debug", "info", "warning", "error", "exception", "critical"}


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """Put back what configuring changes, which is the whole process."""
    root, ours = logging.getLogger(), logging.getLogger("backend")
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    ours.setLevel(logging.NOTSET)
    logging.captureWarnings(False)


def logged(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The lines that were written, decoded."""
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    """A line says when, how grave, by whom, and what."""
    logging_setup.configure("json", "info")
    logging.getLogger("backend.worker.worker").info("handing over %d questions", 3)
    (line,) = logged(capsys)
    assert line["time"].endswith("+00:00")
    assert isinstance(line.pop("pid"), int)
    del line["time"]
    assert line == {
        "level": "info",
        "logger": "backend.worker.worker",
        "message": "handing over 3 questions",
    }


def test_a_question_is_a_field(capsys: pytest.CaptureFixture[str]) -> None:
    """The id of a question is a field of every line about it."""
    logging_setup.configure("json", "info")
    logging.getLogger("backend.worker.job").info("question %s: attempt %d %s", "Q-1", 2, "lost")
    (line,) = logged(capsys)
    assert (line["questionId"], line["message"]) == ("Q-1", "question Q-1: attempt 2 lost")


def test_lines_about_questions_begin_with_their_ids() -> None:
    """All that is logged about a question keeps to the template that makes it a field."""
    templates = [
        call.args[0].value
        for path in BACKEND.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in METHODS
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "logger"
        and isinstance(call.args[0], ast.Constant)
    ]
    about = [str(each) for each in templates if "question %s" in str(each)]
    assert len(about) >= 6
    assert all(each.startswith(logging_setup.ABOUT_A_QUESTION) for each in about)


def test_line_breaks_do_not_make_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever is in a message, a line is a line."""
    logging_setup.configure("json", "info")
    logging.getLogger("backend").warning("one\ntwo\u2028three %s", "\x00")
    (line,) = logged(capsys)
    assert line["message"] == "one\ntwo\u2028three \x00"


def test_an_error_is_told_without_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    """Where an exception arose is logged, and not what it says."""
    logging_setup.configure("json", "info")
    try:
        raise ValueError(PRIVATE)
    except ValueError:
        logging.getLogger("asyncio").exception("a task failed")
    text = capsys.readouterr().err
    assert PRIVATE not in text
    assert json.loads(text)["error"].startswith(f"ValueError at {__file__}:")


def test_text_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a setting the log is as readable as ever."""
    logging_setup.configure("text", "info")
    logging.getLogger("backend.worker.job").info("question %s done", "Q-1")
    assert capsys.readouterr().err.endswith(" INFO backend.worker.job question Q-1 done\n")


@pytest.mark.parametrize(
    ("level", "seen"), [("debug", "diwe"), ("info", "iwe"), ("warning", "we"), ("error", "e")]
)
def test_the_level_decides(level: str, seen: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is below the level is not written."""
    logging_setup.configure("json", level)
    logger = logging.getLogger("backend.store.work_queue")
    for write, letter in zip(
        (logger.debug, logger.info, logger.warning, logger.error), "diwe", strict=True
    ):
        write(letter)
    assert "".join(line["message"] for line in logged(capsys)) == seen


@pytest.mark.parametrize("name", ["openai", "httpx", "httpcore", "aiohttp.client"])
def test_libraries_do_not_chat(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """At LOG_LEVEL=debug libraries would quote questions and keys; they are not let."""
    logging_setup.configure("text", "debug")
    logging.getLogger(name).debug("request: %s", PRIVATE)
    assert capsys.readouterr().err == ""
