"""Response formats: functions that write a transcript as text. `FORMATS` has them by name."""

from asr_service.formats.registry import (
    EVENTS,
    FILE_FORMATS,
    FORMATS,
    OPENAI_FORMATS,
    TEXT_FORMATS,
    WORDS_AND_SEGMENTS,
    WORDS_ONLY,
    Format,
    LineStream,
)
from asr_service.formats.speakers import with_speaker_names
from asr_service.formats.subtitles.layout import SubtitleStyle

__all__ = [
    "EVENTS",
    "FILE_FORMATS",
    "FORMATS",
    "OPENAI_FORMATS",
    "TEXT_FORMATS",
    "WORDS_AND_SEGMENTS",
    "WORDS_ONLY",
    "Format",
    "LineStream",
    "SubtitleStyle",
    "with_speaker_names",
]
