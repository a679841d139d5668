"""A transcript as text that programs and people read: `FORMATS` by the name a request asks for."""

from asr_service.formats.layout import SubtitleStyle
from asr_service.formats.table import EVENTS, FORMATS, OPENAI_FORMATS, WORDS_ONLY, WORDS_TOO, Format, LineStream

__all__ = ["EVENTS", "FORMATS", "OPENAI_FORMATS", "WORDS_ONLY", "WORDS_TOO", "Format", "LineStream", "SubtitleStyle"]
