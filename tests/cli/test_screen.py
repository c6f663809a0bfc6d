"""What stands on a terminal, in a pipe and in a file while an answer comes."""

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import pytest

from backend.cli.screen import DIM, NORMAL, Screen


class Output(io.StringIO):
    """An output that a test can read, and that may be a terminal."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._is_terminal


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in the environment forbids to dim."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


@contextmanager
def on_terminal() -> Iterator[Output]:
    """One terminal that both outputs are."""
    terminal = Output(is_terminal=True)
    with redirect_stdout(terminal), redirect_stderr(terminal):
        yield terminal


@contextmanager
def in_pipes() -> Iterator[tuple[Output, Output]]:
    """Standard output and standard error, neither of which is a terminal."""
    out, err = Output(is_terminal=False), Output(is_terminal=False)
    with redirect_stdout(out), redirect_stderr(err):
        yield out, err


def dim(text: str) -> str:
    """The text as a terminal shows it dimmed."""
    return f"{DIM}{text}{NORMAL}"


async def test_thought_is_dimmed_above_the_answer() -> None:
    """On a terminal the answer begins a line below what was thought, and the prompt below that."""
    with on_terminal() as terminal:
        screen = Screen()
        await screen.thought("Is it? ")
        await screen.thought("It is.")
        await screen.piece("Yes")
        await screen.piece(".")
        screen.end()
    assert terminal.getvalue() == f"{dim('Is it? ')}{dim('It is.')}\nYes.\n"


async def test_lines_are_broken_once() -> None:
    """Where thought and text end their lines themselves, nothing is added."""
    with on_terminal() as terminal:
        screen = Screen()
        await screen.thought("It is.\n")
        await screen.piece("Yes.\n")
        screen.end()
    assert terminal.getvalue() == dim("It is.\n") + "Yes.\n"


async def test_thought_in_the_middle_of_an_answer() -> None:
    """It has lines of its own, too."""
    with on_terminal() as terminal:
        screen = Screen()
        await screen.piece("Yes, ")
        await screen.thought("Or not?")
        await screen.piece("or no.")
        screen.end()
    assert terminal.getvalue() == f"Yes, \n{dim('Or not?')}\nor no.\n"


async def test_a_note_has_its_own_line() -> None:
    """What is said about an answer stands below what there is of it."""
    with on_terminal() as terminal:
        screen = Screen()
        await screen.thought("Hm")
        screen.note("Lost")
        await screen.thought(", yes.")
        screen.end()
    assert terminal.getvalue() == f"{dim('Hm')}\nLost\n{dim(', yes.')}\n"


async def test_no_thought_controls_a_terminal() -> None:
    """What could move the cursor is left out, and whatever is left out breaks no line."""
    with on_terminal() as terminal:
        screen = Screen()
        await screen.thought("Red\x1b[31m\n")
        await screen.thought("\r")
        await screen.piece("Yes.\n")
        await screen.piece("\x07")
        screen.end()
    assert terminal.getvalue() == dim("Red[31m\n") + "Yes.\n"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
async def test_terminals_that_do_not_dim(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """Who wants no colours, or has none, gets the thought as it is."""
    monkeypatch.setenv(name, value)
    with on_terminal() as terminal:
        screen = Screen()
        await screen.thought("It is.")
        await screen.piece("Yes.\n")
    assert terminal.getvalue() == "It is.\nYes.\n"


async def test_pipes_keep_thought_and_answer_apart() -> None:
    """Standard output gets the bare answer; the thought beside it is plain, and whole lines."""
    with in_pipes() as pipes:
        screen = Screen()
        await screen.thought("Is it?\x1b[31m")
        await screen.piece("Yes, ")
        await screen.thought("It is.")
        await screen.piece("yes.\r")
        screen.end()
    assert [output.getvalue() for output in pipes] == ["Yes, yes.\r", "Is it?[31m\nIt is.\n"]


async def test_thought_may_be_hidden() -> None:
    """Without `reasoning` the answer is all there is."""
    with in_pipes() as pipes:
        screen = Screen(reasoning=False)
        await screen.thought("It is.")
        await screen.piece("Yes.")
        screen.end()
    assert [output.getvalue() for output in pipes] == ["Yes.", ""]


async def test_a_silent_screen_shows_notes_alone() -> None:
    """Neither text nor thought is shown, and no line is broken for them."""
    with in_pipes() as pipes:
        screen = Screen(silent=True)
        await screen.thought("It is.")
        await screen.piece("Yes.")
        screen.note("Lost")
        screen.end()
    assert [output.getvalue() for output in pipes] == ["", "Lost\n"]


async def test_a_broken_answer_spoils_a_pipe() -> None:
    """Text that was written cannot be taken back; the next attempt begins a new line."""
    with in_pipes() as pipes:
        screen = Screen()
        await screen.piece("Never")
        screen.restarted(2)
        await screen.piece("Yes.")
    assert pipes[0].getvalue() == "Never\nYes."
    assert screen.has_void_text


async def test_a_broken_thought_spoils_nothing() -> None:
    """Where an attempt has only thought, the output is that of the next one alone."""
    with in_pipes() as pipes:
        screen = Screen()
        await screen.thought("Never")
        screen.restarted(2)
        await screen.thought("It is.")
        await screen.piece("Yes.")
        screen.end()
    out, err = (output.getvalue() for output in pipes)
    assert out == "Yes."
    assert err == "Never\nThe answer broke off; it begins anew (attempt 2)\nIt is.\n"
    assert not screen.has_void_text


async def test_a_terminal_is_told_that_it_begins_anew() -> None:
    """The remark stands between what is void and what counts, without an empty line."""
    with on_terminal() as terminal:
        screen = Screen()
        await screen.thought("Never")
        await screen.piece("No")
        screen.restarted(2)
        await screen.thought("It is.")
        await screen.piece("Yes.\n")
    assert terminal.getvalue() == (
        f"{dim('Never')}\nNo\nThe answer broke off; it begins anew (attempt 2)\n"
        f"{dim('It is.')}\nYes.\n"
    )
    assert not screen.has_void_text


async def test_without_a_standard_error() -> None:
    """Where it is closed, the thought goes nowhere."""
    with in_pipes() as (out, _), redirect_stderr(None):
        screen = Screen()
        await screen.thought("It is.")
        await screen.piece("Yes.")
        screen.end()
    assert out.getvalue() == "Yes."
