"""What `asr-service transcribe` says of its work: a line where something is amiss, JSON for programs, a summary."""

import json
from collections import Counter
from datetime import timedelta

from rich.console import Console
from rich.text import Text

from asr_service.cli.transcribe.files import print_bytes
from asr_service.cli.transcribe.types import Result, printable


class Report:
    """Collects results and tells them as they come."""

    def __init__(self, console: Console, *, as_json: bool) -> None:
        """`console` writes to standard error; JSON goes to standard output, a line a recording."""
        self._console = console
        self._as_json = as_json
        self._counts: Counter[str] = Counter()
        self._audio_s = 0.0

    @property
    def any_failed(self) -> bool:
        return self._counts["failed"] > 0

    def tell(self, result: Result) -> None:
        """Say what is amiss and, for programs, all of it. Raises as `print_bytes` does."""
        self._counts[result.status] += 1
        self._audio_s += result.audio_s or 0.0
        for warning in result.warnings:
            self.say(f"{result.source}: {warning}", "yellow")
        if result.error is not None:
            self.say(f"{result.source}: {result.error}", "red")
        if self._as_json:
            print_bytes(json.dumps(_fields(result)).encode() + b"\n")

    def say(self, message: str, style: str = "") -> None:
        """Write a line to standard error, above the bars if there are any."""
        self._console.print(Text(printable(message), style=style), soft_wrap=True)

    def summarize(self, lasted_s: float, n_planned: int) -> None:
        """Close with how many were done, how fast, and what remains."""
        n_left = n_planned - self._counts.total()
        parts = [f"{self._counts[status]} {status}" for status in ("done", "skipped", "failed") if self._counts[status]]
        parts += [f"{n_left} not done"] if n_left else []
        speed = ""
        if self._audio_s and lasted_s:
            audio, wall = (timedelta(seconds=round(seconds)) for seconds in (self._audio_s, lasted_s))
            speed = f"; {audio} of audio in {wall}, {self._audio_s / lasted_s:.1f} times as fast as it was spoken"
        self.say((", ".join(parts) or "nothing to do") + speed)
        if self._counts["skipped"]:
            self.say("skipped: outputs that are newer than their recording; --overwrite writes them anew")
        if n_left:
            self.say("the same command goes on where this one ended")


def _fields(result: Result) -> dict[str, object]:
    return {
        "source": result.source,
        "status": result.status,
        "outputs": [str(path) for path in result.outputs] if result.status != "failed" else [],
        "audio_s": None if result.audio_s is None else round(result.audio_s, 3),
        "seconds": None if result.seconds is None else round(result.seconds, 3),
        "warnings": list(result.warnings),
        "error": result.error,
    }
