"""Subtitles: SubRip and WebVTT (https://www.w3.org/TR/webvtt1/)."""

import re

from asr_service.formats.cues import Cue, cues
from asr_service.transcript import Transcript

# SubRip has no escape for the arrow between a cue's times, and some readers look for it on every line.
_ARROW = re.compile(r"-{2,}>")
_MARKUP = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def render_srt(transcript: Transcript) -> str:
    return "\n".join(_srt_cue(number, cue) for number, cue in enumerate(cues(transcript), start=1))


def render_vtt(transcript: Transcript) -> str:
    return "\n".join(["WEBVTT\n", *map(_vtt_cue, cues(transcript))])


def _srt_cue(number: int, cue: Cue) -> str:
    times = f"{_clock(cue.start_ms, ',')} --> {_clock(cue.end_ms, ',')}"
    return f"{number}\n{times}\n{_ARROW.sub('->', cue.text)}\n"


def _vtt_cue(cue: Cue) -> str:
    times = f"{_clock(cue.start_ms, '.')} --> {_clock(cue.end_ms, '.')}"
    return f"{times}\n{cue.text.translate(_MARKUP)}\n"


def _clock(time_ms: int, point: str) -> str:
    """Hours in two digits, or more past the hundredth hour."""
    minutes, ms = divmod(time_ms, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{ms // 1000:02}{point}{ms % 1000:03}"
