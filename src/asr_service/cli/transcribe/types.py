"""What the parts of `asr-service transcribe` say to each other."""

import unicodedata
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Final, Literal, Protocol

from asr_service.transcript import Segment, Transcript

STDIN = "-"

API_KEY_VARIABLE: Final = "ASRSERVICE_API_KEY"
"""Not ASR_*: the service refuses an ASR_ variable that is not one of its settings."""

Fields = tuple[tuple[str, str], ...]
"""Options, as a request's form has them."""


class OutputFormat(StrEnum):
    """By the suffix that a file of it has."""

    TXT = "txt"
    SRT = "srt"
    VTT = "vtt"
    JSON = "json"
    TSV = "tsv"

    @property
    def response_format(self) -> str:
        """Its name in `FORMATS` and in the service's API."""
        return "text" if self is OutputFormat.TXT else self.value

    @property
    def is_subtitles(self) -> bool:
        return self in {OutputFormat.SRT, OutputFormat.VTT}


@dataclass(frozen=True, slots=True)
class Target:
    """Where one format of a transcript goes. Without a path, to standard output."""

    fmt: OutputFormat
    path: Path | None


@dataclass(frozen=True, slots=True)
class Job:
    """One recording to be transcribed, and what is to be written of it."""

    source: Path | None
    """None is standard input."""
    targets: tuple[Target, ...]

    @property
    def name(self) -> str:
        return STDIN if self.source is None else str(self.source)

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(target.path for target in self.targets if target.path is not None)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a recording, or of a name that led to none."""

    source: str
    status: Literal["done", "skipped", "failed"]
    outputs: tuple[Path, ...] = ()
    audio_s: float | None = None
    """How long the recording is; None where that is not known."""
    seconds: float | None = None
    """How long it took; None where nothing was tried."""
    warnings: tuple[str, ...] = ()
    error: str | None = None


class Recognizer(Protocol):
    """Turns a recording into its transcript: in this process, or by calling a service."""

    def transcribe(self, file: BinaryIO) -> AsyncGenerator[Segment | Transcript]:
        """Yield Segments as they become known, then the Transcript.

        It may begin anew, so that segments come twice; the transcript has each once. `file` is open and seekable.
        Raises AsrError: this recording failed. StartupError among them: so will every other.
        """


def printable(text: str) -> str:
    """Text that changes nothing but its place on a terminal: control characters and undecodable bytes are escaped."""
    return "".join(map(_escaped, text))


def _escaped(letter: str) -> str:
    # Cc: escape sequences, line ends. Cs: bytes of a name that are no text. Cf would take the joiners within emoji.
    if unicodedata.category(letter) in {"Cc", "Cs"} or letter in _TURNS:
        return letter.encode("unicode_escape", "surrogatepass").decode("ascii")
    return letter


_TURNS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029"
"""Marks that would turn round or break what stands after them: https://unicode.org/reports/tr9/"""
