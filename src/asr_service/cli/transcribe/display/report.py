"""Report results: warnings and errors as they occur, JSON for programs, a summary at the end."""

import json
from collections import Counter
from datetime import timedelta
from typing import Final

from rich.console import Console
from rich.text import Text

from asr_service.cli.terminal import print_bytes, printable
from asr_service.cli.transcribe.types import FileResult

_STATUSES: Final = ("done", "skipped", "ignored", "failed")
_NOTES: Final = {
    "skipped": "Skipped: the outputs are up to date. --overwrite writes them again.",
    "ignored": "Ignored: files that this command writes are not taken for recordings.",
}

_IN_PROGRESS: Final = {
    True: "A recording in progress goes on where it stopped.",
    False: "A recording in progress starts again.",
}


class Report:
    """Collects the results of a run and prints them."""

    def __init__(self, console: Console, *, as_json: bool) -> None:
        """`console` writes to standard error. With `as_json`, standard output gets a line of JSON for each result."""
        self._console = console
        self._as_json = as_json
        self._counts: Counter[str] = Counter()
        self._audio_s = 0.0

    @property
    def any_failed(self) -> bool:
        return self._counts["failed"] > 0

    def add(self, result: FileResult) -> None:
        """Count a result and print its warnings, its error and its JSON. Raises the errors of `print_bytes`."""
        self._counts[result.status] += 1
        self._audio_s += max((result.audio_s or 0.0) - result.earlier_s, 0.0)
        for warning in result.warnings:
            self.print_line(f"{result.source}: {warning}", "yellow")
        if result.error is not None:
            self.print_line(f"{result.source}: {result.error}", "red")
        if result.status == "done" and result.output_paths and not self._as_json:
            self.print_line(f"{result.source}: wrote {', '.join(map(str, result.output_paths))}")
        if self._as_json:
            print_bytes(json.dumps(_fields(result)).encode() + b"\n")

    def print_line(self, message: str, style: str = "") -> None:
        """Print a line to standard error, above the progress lines if there are any."""
        self._console.print(Text(printable(message), style=style), soft_wrap=True)

    def print_summary(self, elapsed_s: float, n_total: int, n_other_options: int, *, resumes: bool) -> None:
        """Print how many recordings have which status, the speed, and what remains of `n_total`.

        `n_other_options` as in TranscribePlan. `resumes` says how the same command continues a recording.
        """
        n_left = n_total - self._counts.total()
        parts = [f"{self._counts[status]} {status}" for status in _STATUSES if self._counts[status]]
        parts += [f"{n_left} not done"] if n_left else []
        speed = ""
        if self._audio_s and elapsed_s:
            audio, wall = (timedelta(seconds=round(seconds)) for seconds in (self._audio_s, elapsed_s))
            speed = f"; {audio} of audio in {wall}, {self._audio_s / elapsed_s:.1f}x real time"
        self.print_line((", ".join(parts) or "nothing to do") + speed)
        for status, note in _NOTES.items():
            if self._counts[status]:
                self.print_line(note)
        if n_other_options:
            self.print_line(f"The outputs of {n_other_options} of the recordings had been written with other options.")
        if n_left:
            self.print_line(f"Run the same command again to transcribe the rest. {_IN_PROGRESS[resumes]}")


def _fields(result: FileResult) -> dict[str, object]:
    return {
        "source": result.source,
        "status": result.status,
        "outputs": [str(path) for path in result.output_paths] if result.status != "failed" else [],
        "audio_s": None if result.audio_s is None else round(result.audio_s, 3),
        "seconds": None if result.elapsed_s is None else round(result.elapsed_s, 3),
        "warnings": list(result.warnings),
        "error": result.error,
    }
