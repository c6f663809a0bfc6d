"""What may be typed: the command, its default, and what is refused."""

import pytest

from backend.cli.arguments import MAX_WORKERS, parse
from backend.settings import Settings


@pytest.mark.parametrize("arguments", [[], ["--demo"], ["--workers", "2"], ["--port", "0"]])
def test_a_server_is_the_default(arguments: list[str]) -> None:
    """Options alone, or nothing at all, are those of `serve`."""
    assert parse(arguments) == parse(["serve", *arguments])
    assert parse(arguments).command == "serve"


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["--version"], ["serve", "--help"]])
def test_help_is_no_mistake(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What only asks for words ends with status 0, and they stand on standard output."""
    with pytest.raises(SystemExit) as ended:
        parse(arguments)
    assert ended.value.code == 0
    assert capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["wrok"],
        ["worker", "--demo"],
        ["--workers", "many"],
        ["--workers", "-1"],
        ["--workers", str(MAX_WORKERS + 1)],
        ["--no-such-option"],
    ],
)
def test_what_makes_no_sense_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistake ends with status 2, and the line about it says where it is."""
    with pytest.raises(SystemExit) as ended:
        parse(arguments)
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_a_client_waits_as_long_as_a_server_answers() -> None:
    """The default of `ask --timeout` is that of ANSWER_TIMEOUT_S."""
    assert parse(["ask", "Why?"]).timeout == Settings().answer_timeout_s


@pytest.mark.parametrize("command", ["ask", "replay"])
def test_thought_is_shown_unless_it_is_not_wanted(command: str) -> None:
    """`--no-reasoning` is an option of both commands that show an answer."""
    assert parse([command, "x"]).reasoning
    assert not parse([command, "x", "--no-reasoning"]).reasoning


def test_a_mistyped_command_is_told_which_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever mistypes a command is shown the right ones."""
    with pytest.raises(SystemExit):
        parse(["wrok"])
    assert "worker" in capsys.readouterr().err
