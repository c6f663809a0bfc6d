"""Shows an answer while it comes: its words on standard output, all else on standard error."""

import asyncio
import sys

from .console import harmless, remark


class Screen:
    """A view of one answer. A silent one shows no words: they are printed in another form.

    Raises BrokenPipeError where nobody reads the words any more.
    """

    def __init__(self, *, silent: bool = False) -> None:
        self._silent = silent
        self._is_terminal = sys.stdout.isatty()
        self._last = "\n"
        self.is_spoilt = False  # words of a broken attempt were written, for ever

    async def piece(self, text: str) -> None:
        """Write words; returns once they are out, which takes as long as the reader does."""
        if self._silent:
            return
        # In a thread: a pager that is not read on must keep neither Ctrl-C nor the
        # server's pings from being answered.
        await asyncio.to_thread(self._write, text)

    def begun_anew(self, attempt: int) -> None:
        """Say that the words so far are void, and begin a new line."""
        remark(f"The answer broke off; it begins anew (attempt {attempt})")
        self._break_line()
        self.is_spoilt = self.is_spoilt or not (self._silent or self._is_terminal)

    def note(self, text: str) -> None:
        """Say something about the answer."""
        remark(text)

    def end(self) -> None:
        """Leave the terminal's prompt a line of its own; a pipe gets the bare words."""
        if self._is_terminal:
            self._break_line()

    def _break_line(self) -> None:
        if not self._last.endswith("\n"):
            self._write("\n")

    def _write(self, text: str) -> None:
        sys.stdout.write(harmless(text) if self._is_terminal else text)
        sys.stdout.flush()
        self._last = text or self._last
