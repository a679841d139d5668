"""Shows the text of turns: partial text in grey, final text in the terminal's own colour."""

from typing import TextIO

from rich.cells import cell_len

from asr_service.cli.terminal import printable
from asr_service.client.live import FailedText, FinalText, LiveText, PartialText, TurnBegan

_GREY, _RESET, _CLEAR = "\x1b[90m", "\x1b[0m", "\r\x1b[K"


class TurnDisplay:
    """Writes a line for each turn. On a terminal, the last line shows the partial text of the turn that is open."""

    def __init__(self, output: TextIO, *, columns: int) -> None:
        """`columns` is the width of the terminal; 0 if the output is not one: then it gets final texts only."""
        self._output = output
        self._columns = columns
        self._partial: dict[str, str] = {}
        """By turn, in the order in which they were spoken."""

    def show(self, text: LiveText) -> None:
        match text:
            case TurnBegan():
                self._partial.setdefault(text.turn_id, "")
                return
            case PartialText():
                self._partial[text.turn_id] = self._partial.get(text.turn_id, "") + text.text
            case FinalText():
                self._partial.pop(text.turn_id, None)
                line = printable(text.text.strip())
                self._write(f"{line}\n" if line else "")
            case FailedText():
                self._partial.pop(text.turn_id, None)
        if self._columns:
            self._show_partial()

    def close(self) -> None:
        """Remove the partial text."""
        if self._columns:
            self._write("")

    def _show_partial(self) -> None:
        text = printable(" ".join(filter(None, map(str.strip, self._partial.values()))))
        # One line only: the terminal cannot go back to the beginning of a text that it has wrapped.
        shown = text if cell_len(text) < self._columns else "…" + _last_columns(text, self._columns - 2)
        self._write(f"{_GREY}{shown}{_RESET}" if shown else "")

    def _write(self, text: str) -> None:
        self._output.write((_CLEAR if self._columns else "") + text)
        self._output.flush()


def _last_columns(text: str, columns: int) -> str:
    """Return the end of a text that has at most this width. A Chinese character takes two columns."""
    start = len(text)
    while start and (columns := columns - cell_len(text[start - 1])) >= 0:
        start -= 1
    return text[start:]
