"""The one table of answer formats. A new format is a render function and a line here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from asr_service.formats import objects, plain, subtitles
from asr_service.transcript import Segment, Transcript


class ErrorLine(Protocol):
    def __call__(self, code: str, message: str, *, kind: str = ..., param: str | None = ...) -> str: ...


@dataclass(frozen=True, slots=True)
class LineStream:
    """How an answer is written while it is still being found; every line ends with a newline.

    Either `closing` or `error` is the last line, so that a reader knows a whole answer from one cut off.
    """

    segment: Callable[[Segment], str]
    closing: Callable[[Transcript], str]
    error: ErrorLine


@dataclass(frozen=True, slots=True)
class Format:
    name: str
    media_type: str
    render: Callable[[Transcript], str]
    """The whole answer, to be sent as UTF-8."""
    stream: LineStream | None = None
    """None where the answer can only be written whole."""


_NDJSON = LineStream(objects.segment_line, objects.closing_line, objects.error_line)

_ALL = (
    Format("json", "application/json", objects.render_json),
    Format("text", "text/plain; charset=utf-8", plain.render_text),
    Format("srt", "application/x-subrip; charset=utf-8", subtitles.render_srt),
    Format("vtt", "text/vtt; charset=utf-8", subtitles.render_vtt),
    Format("tsv", "text/tab-separated-values; charset=utf-8", plain.render_tsv),
    Format("ndjson", "application/x-ndjson", objects.render_ndjson, _NDJSON),
)

FORMATS: Mapping[str, Format] = MappingProxyType({fmt.name: fmt for fmt in _ALL})
"""By the value of `response_format`."""
