"""Writes cues as SubRip or WebVTT (https://www.w3.org/TR/webvtt1/)."""

import re
from collections.abc import Iterator, Sequence

from asr_service.formats.subtitles.layout import Cue, SubtitleStyle, joined, lay_out
from asr_service.formats.subtitles.pieces import Piece
from asr_service.transcript import Transcript

# SubRip cannot escape the arrow that separates the times of a cue, and some readers look for it on every line.
_ARROW = re.compile(r"-{2,}>")
_MARKUP = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def render_srt(transcript: Transcript, style: SubtitleStyle) -> str:
    return "\n".join(_srt_cue(number, cue) for number, cue in enumerate(lay_out(transcript, style), start=1))


def render_vtt(transcript: Transcript, style: SubtitleStyle) -> str:
    write = _highlighted if style.highlight_words else _plain
    return "\n".join(["WEBVTT\n", *(_vtt_cue(cue, write(cue)) for cue in lay_out(transcript, style))])


def _srt_cue(number: int, cue: Cue) -> str:
    times = f"{_clock(cue.start_ms, ',')} --> {_clock(cue.end_ms, ',')}"
    return "\n".join([str(number), times, *(_ARROW.sub("->", text) for text in cue.texts), ""])


def _vtt_cue(cue: Cue, texts: Sequence[str]) -> str:
    times = f"{_clock(cue.start_ms, '.')} --> {_clock(cue.end_ms, '.')}"
    return "\n".join([times, *texts, ""])


def _plain(cue: Cue) -> list[str]:
    return [text.translate(_MARKUP) for text in cue.texts]


def _highlighted(cue: Cue) -> list[str]:
    """Return the lines with a time tag before each word. Players style spoken words by `::cue(:past)`."""
    stamps = _stamps(cue)
    return ["".join(_tagged(piece, next(stamps), first=not at) for at, piece in enumerate(line)) for line in cue.lines]


def _tagged(piece: Piece, stamp: str, *, first: bool) -> str:
    return " " * (piece.spaced and not first) + stamp + joined([piece]).translate(_MARKUP)


def _stamps(cue: Cue) -> Iterator[str]:
    """Yield a time tag for each piece, or an empty text. WebVTT requires increasing times within the cue."""
    latest_ms = cue.start_ms
    for line in cue.lines:
        for piece in line:
            at_ms = round(piece.start * 1000)
            if latest_ms < at_ms < cue.end_ms:
                latest_ms = at_ms
                yield f"<{_clock(at_ms, '.')}>"
            else:
                yield ""


def _clock(time_ms: int, point: str) -> str:
    """Format a time. Hours have two digits, and three from the hundredth hour on."""
    minutes, ms = divmod(time_ms, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{ms // 1000:02}{point}{ms % 1000:03}"
