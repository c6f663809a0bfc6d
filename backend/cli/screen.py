"""Shows an answer while it comes: its text on standard output, all else on standard error."""

import asyncio
import os
import sys
from dataclasses import dataclass
from typing import TextIO

from .console import printable, remark, say

DIM, NORMAL = "\x1b[2m", "\x1b[0m"


class Screen:
    """A view of one answer. A silent one shows no text: it is printed in another form.

    What the model thinks is shown on standard error, unless `reasoning` is false.
    Raises BrokenPipeError where nobody reads the text any more.
    """

    def __init__(self, *, silent: bool = False, reasoning: bool = True) -> None:
        self._silent = silent
        self._is_terminal = sys.stdout.isatty()
        self._shows_thought = reasoning and not silent and sys.stderr is not None
        self._dims = self._shows_thought and _can_dim(sys.stderr)
        self._out = _Cursor()
        shared = self._is_terminal and sys.stderr is not None and sys.stderr.isatty()
        self._err = self._out if shared else _Cursor()
        self._thinks = False
        self._has_text = False
        self.has_void_text = False  # text of a failed attempt was written that cannot be taken back

    async def thought(self, text: str) -> None:
        """Write what the model thinks; returns once it is out."""
        if self._shows_thought and (shown := printable(text)):
            await asyncio.to_thread(self._write_thought, shown)

    async def piece(self, text: str) -> None:
        """Write text; returns once it is out, which takes as long as the reader does."""
        if text and not self._silent:
            # In a thread: a pager that is not read on must keep neither Ctrl-C nor the
            # server's pings from being answered.
            shown = printable(text) if self._is_terminal else text
            await asyncio.to_thread(self._write_piece, shown)

    def restarted(self, attempt: int) -> None:
        """Say that all text so far is void, and begin a new line."""
        self._break_output()
        self.note(f"The answer broke off; it begins anew (attempt {attempt})")
        self.has_void_text = self.has_void_text or (self._has_text and not self._is_terminal)

    def note(self, text: str) -> None:
        """Say something about the answer."""
        self._break_errors()
        remark(text)

    def end(self) -> None:
        """Leave the terminal's prompt, and remarks, lines of their own; a pipe gets bare text."""
        if self._is_terminal:
            self._break_output()
        self._break_errors()

    def _write_thought(self, text: str) -> None:
        if not self._thinks:
            self._break_errors()
        self._thinks = True
        # Each time back to normal: whatever ends us, the terminal is left as it was.
        sys.stderr.write(f"{DIM}{text}{NORMAL}" if self._dims else text)
        sys.stderr.flush()
        self._err.move_behind(text)

    def _write_piece(self, text: str) -> None:
        if self._thinks:
            self._break_errors()
        self._thinks = False
        self._has_text = True
        sys.stdout.write(text)
        sys.stdout.flush()
        self._out.move_behind(text)

    def _break_output(self) -> None:
        if self._out.in_line:
            say("")
            self._out.in_line = False

    def _break_errors(self) -> None:
        if self._err.in_line:
            remark("")
            self._err.in_line = False


@dataclass(slots=True)
class _Cursor:
    """Where the next character goes; on one terminal both outputs share it."""

    in_line: bool = False  # behind something, not at the beginning of a line

    def move_behind(self, text: str) -> None:
        """Take note of what was written."""
        if text:
            self.in_line = not text.endswith("\n")


def _can_dim(stream: TextIO) -> bool:
    """Whether this is a terminal on which text may look different (https://no-color.org)."""
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return wanted and stream.isatty()
