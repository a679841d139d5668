"""Types that the modules of `asr-service transcribe` exchange."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Literal, Protocol

from asr_service.formats import Format
from asr_service.transcript import Segment, Transcript

STDIN: Final = "-"

FormFields = Mapping[str, str]
"""Options as a request's form fields."""


@dataclass(frozen=True, slots=True)
class Output:
    """One format of a transcript and the file it is written to."""

    fmt: Format
    path: Path | None
    """None is standard output."""


@dataclass(frozen=True, slots=True)
class FileTask:
    """One recording to transcribe, and its outputs."""

    source: Path | None
    """None is standard input."""
    outputs: tuple[Output, ...]

    @property
    def name(self) -> str:
        return STDIN if self.source is None else str(self.source)

    @property
    def output_paths(self) -> tuple[Path, ...]:
        return tuple(output.path for output in self.outputs if output.path is not None)


@dataclass(frozen=True, slots=True)
class FileResult:
    """The outcome for one recording, or for a name that led to no recording."""

    source: str
    status: Literal["done", "skipped", "ignored", "failed"]
    """`skipped`: its outputs are up to date. `ignored`: it is a file that this command writes, not a recording."""
    output_paths: tuple[Path, ...] = ()
    audio_s: float | None = None
    """Length of the recording; None if it is not known."""
    earlier_s: float = 0.0
    """How much of it an earlier run had transcribed."""
    elapsed_s: float | None = None
    """Time the transcription took; None if it was not tried."""
    warnings: tuple[str, ...] = ()
    error: str | None = None


class Recognizer(Protocol):
    """Transcribes a recording, in this process or with a service."""

    @property
    def resume_key(self) -> str | None:
        """Identify everything that the segments depend on besides the recording. None if it cannot resume."""

    def transcribe(self, file: BinaryIO, earlier: Sequence[Segment] = ()) -> AsyncGenerator[Segment | Transcript]:
        """Yield Segments as they become known, then the Transcript.

        A recognizer may start a recording again. Segments can then appear twice; the Transcript has each once. `file`
        is open and seekable. `earlier` are the first segments of an interrupted run with the same `resume_key`, which
        are not all transcribed again; the Transcript includes them.

        Raises AsrError: this recording failed.
        Raises StartupError: every other recording would fail too.
        """
