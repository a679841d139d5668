"""Segments made fit to be shown: times in milliseconds, text on one line."""

from collections.abc import Iterator
from dataclasses import dataclass

from asr_service.transcript import Transcript


@dataclass(frozen=True, slots=True)
class Cue:
    start_ms: int
    end_ms: int
    """After `start_ms`."""
    text: str
    """One line, trimmed, never empty."""


def cues(transcript: Transcript) -> Iterator[Cue]:
    """Give the segments that say something, in their order."""
    for segment in transcript.segments:
        text = _one_line(segment.text)
        if text:
            start_ms = max(0, round(segment.start * 1000))
            # A cue that ends when it starts is never shown, and WebVTT forbids it.
            yield Cue(start_ms, max(start_ms + 1, round(segment.end * 1000)), text)


def _one_line(text: str) -> str:
    """Without line ends, since a blank line would end a cue; other spaces, French's no-break ones too, stay."""
    return " ".join(part for part in map(str.strip, text.splitlines()) if part)
