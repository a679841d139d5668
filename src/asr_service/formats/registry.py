"""The table of response formats. To add a format, write a render function and add a line here.

The values of `response_format`, the formats that the CLI writes, and the OpenAPI document all follow from this table.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from asr_service.formats import json, openai, plain
from asr_service.formats.subtitles import render
from asr_service.formats.subtitles.layout import SubtitleStyle
from asr_service.transcript import Segment, Transcript

StyledRenderer = Callable[[Transcript, SubtitleStyle], str]

_DEFAULT_STYLE = SubtitleStyle()


class ErrorRenderer(Protocol):
    """Writes an error as the last line of a stream."""

    def __call__(self, code: str, message: str, *, status: int = ..., param: str | None = ...) -> str: ...


@dataclass(frozen=True, slots=True)
class LineStream:
    """How to write a transcript while it is produced. Each function returns whole lines, or whole SSE events.

    The last line is written by `closing` or by `error`, so a reader can detect a response that was cut off.
    """

    segment: Callable[[Segment], str]
    closing: Callable[[Transcript], str]
    error: ErrorRenderer


@dataclass(frozen=True, slots=True)
class Format:
    """A way to write a transcript."""

    name: str
    """The value of `response_format`."""
    media_type: str
    render: Callable[[Transcript], str]
    """Writes the whole response, to be sent as UTF-8."""
    stream: LineStream | None = None
    """None if the format can only be written whole."""
    styled: StyledRenderer | None = None
    """Writes subtitles in a given style, best with word times. None if the format has no subtitle layout."""
    suffix: str | None = None
    """The suffix of a file in this format, without the dot. None if the CLI does not write the format."""

    def in_style(self, style: SubtitleStyle) -> "Format":
        """Return this format with another subtitle style, or unchanged if it has no subtitle layout."""
        return _subtitles(self.name, self.media_type, self.styled, style) if self.styled else self


def _subtitles(name: str, media_type: str, styled: StyledRenderer, style: SubtitleStyle = _DEFAULT_STYLE) -> Format:
    return Format(name, media_type, lambda transcript: styled(transcript, style), styled=styled, suffix=name)


_NDJSON_STREAM = LineStream(json.segment_line, json.closing_line, json.error_line)
_SSE_STREAM = LineStream(openai.delta_event, openai.done_event, openai.error_event)

_JSON = Format("json", "application/json", json.render_json, suffix="json")
_VERBOSE_JSON = Format("verbose_json", "application/json", openai.render_verbose_json)
_TEXT = Format("text", "text/plain; charset=utf-8", plain.render_text, suffix="txt")
_SRT = _subtitles("srt", "application/x-subrip; charset=utf-8", render.render_srt)
_VTT = _subtitles("vtt", "text/vtt; charset=utf-8", render.render_vtt)
_TSV = Format("tsv", "text/tab-separated-values; charset=utf-8", plain.render_tsv, suffix="tsv")
_LRC = Format("lrc", "text/plain; charset=utf-8", plain.render_lrc, suffix="lrc")  # LRC has no registered media type
_NDJSON = Format("ndjson", "application/x-ndjson", json.render_ndjson, _NDJSON_STREAM)
_OPENAI_TEXT = Format("text", "text/plain; charset=utf-8", plain.render_line)
_OPENAI_JSON = Format("json", "application/json", openai.render_openai_json)


def _by_name(*formats: Format) -> Mapping[str, Format]:
    return MappingProxyType({fmt.name: fmt for fmt in formats})


def _by_suffix(formats: Iterable[Format]) -> Mapping[str, Format]:
    return MappingProxyType({fmt.suffix: fmt for fmt in formats if fmt.suffix is not None})


FORMATS = _by_name(_JSON, _VERBOSE_JSON, _TEXT, _SRT, _VTT, _TSV, _LRC, _NDJSON)
"""The formats of /transcribe and /translate, by the value of `response_format`."""

OPENAI_FORMATS = _by_name(_OPENAI_JSON, _VERBOSE_JSON, _OPENAI_TEXT, _SRT, _VTT)
"""The formats of OpenAI's API, by the value of `response_format`. Its `json` and `text` are different ones."""

FILE_FORMATS = _by_suffix(FORMATS.values())
"""The formats that the CLI writes to files, by the suffix of the file."""

TEXT_FORMATS = _by_name(_TEXT, _SRT, _VTT, _TSV, _LRC)
"""The formats of /format, by the value of `response_format`: those that need nothing but text and times."""

WORDS_ONLY = Format("verbose_json", "application/json", openai.render_verbose_json_of_words)
"""OpenAI's verbose_json for the granularity `word`."""

WORDS_AND_SEGMENTS = Format("verbose_json", "application/json", openai.render_verbose_json_with_words)
"""OpenAI's verbose_json for the granularities `word` and `segment`."""

EVENTS = Format("events", "text/event-stream; charset=utf-8", openai.render_events, _SSE_STREAM)
"""OpenAI's stream of server-sent events."""
