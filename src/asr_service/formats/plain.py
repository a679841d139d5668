"""Text alone, and a table of times and text."""

from collections.abc import Iterator

from asr_service.transcript import Transcript


def render_text(transcript: Transcript) -> str:
    """Write what was said, ended by a newline; nothing at all where nothing was said."""
    text = transcript.text.strip()
    return text + "\n" if text else ""


def render_tsv(transcript: Transcript) -> str:
    """Write a line of headings, then `start`, `end` (whole milliseconds) and `text` a segment that says something."""
    return "\n".join(["start\tend\ttext", *_rows(transcript)]) + "\n"


def _rows(transcript: Transcript) -> Iterator[str]:
    for segment in transcript.segments:
        text = _one_line(segment.text)
        if text:
            start_ms = max(0, round(segment.start * 1000))
            end_ms = max(start_ms + 1, round(segment.end * 1000))
            yield f"{start_ms}\t{end_ms}\t{text}"


def _one_line(text: str) -> str:
    """Without line ends and tabs; other spaces, French's no-break ones too, stay."""
    return " ".join(part for part in map(str.strip, text.splitlines()) if part).replace("\t", " ")
