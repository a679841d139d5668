"""Text formats without a layout: plain text, a table of times and text, and LRC lyrics."""

from collections.abc import Iterator

from asr_service.formats.paragraphs import paragraphs
from asr_service.transcript import Segment, Transcript


def render_text(transcript: Transcript) -> str:
    """Write a line for each paragraph, with an empty line between them; nothing for an empty transcript."""
    return "\n".join(f"{_one_line(text)}\n" for text in paragraphs(transcript.segments))


def render_line(transcript: Transcript) -> str:
    """Write the text on one line; nothing for an empty transcript."""
    text = transcript.text.strip()
    return text + "\n" if text else ""


def render_tsv(transcript: Transcript) -> str:
    """Write a heading, then a row for each segment with text: `start` and `end` in whole milliseconds, and `text`."""
    return "".join(["start\tend\ttext\n", *map(_tsv_row, _lines(transcript))])


def render_lrc(transcript: Transcript) -> str:
    """Write a line `[mm:ss.xx]text` for each segment with text, as music players show lyrics.

    `xx` are hundredths of a second. LRC has no hours: minutes go on past 99. The format:
    https://en.wikipedia.org/wiki/LRC_(file_format).
    """
    return "".join(f"[{_lrc_time(segment.start)}]{_lrc_text(text)}\n" for segment, text in _lines(transcript))


def _lines(transcript: Transcript) -> Iterator[tuple[Segment, str]]:
    """Yield each segment that has text, and its text on one line."""
    for segment in transcript.segments:
        text = _one_line(segment.text)
        if text:
            yield segment, text


def _one_line(text: str) -> str:
    """Replace line ends and tabs by spaces. Keep other spaces, such as French no-break spaces."""
    return " ".join(part for part in map(str.strip, text.splitlines()) if part).replace("\t", " ")


def _tsv_row(line: tuple[Segment, str]) -> str:
    segment, text = line
    start_ms = max(0, round(segment.start * 1000))
    end_ms = max(start_ms + 1, round(segment.end * 1000))
    return f"{start_ms}\t{end_ms}\t{text}\n"


def _lrc_time(time_s: float) -> str:
    minutes, hundredths = divmod(max(0, round(time_s * 100)), 6000)
    return f"{minutes:02}:{hundredths // 100:02}.{hundredths % 100:02}"


def _lrc_text(text: str) -> str:
    # Players take a bracket after the time for another time or a tag. They ignore a space before the text.
    return " " + text if text.startswith("[") else text
