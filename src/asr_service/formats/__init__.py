"""A transcript as text that programs and people read: `FORMATS` by the name a request asks for."""

from asr_service.formats.registry import EVENTS, FORMATS, OPENAI_FORMATS, WORDS_ONLY, WORDS_TOO, Format, LineStream
from asr_service.formats.subtitles.layout import SubtitleStyle

__all__ = ["EVENTS", "FORMATS", "OPENAI_FORMATS", "WORDS_ONLY", "WORDS_TOO", "Format", "LineStream", "SubtitleStyle"]
