"""A transcript as text that programs and people read: `FORMATS` by the name a request asks for."""

from asr_service.formats.table import FORMATS, Format, LineStream

__all__ = ["FORMATS", "Format", "LineStream"]
