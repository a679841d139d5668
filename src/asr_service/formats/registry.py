"""The one table of answer formats. A new format is a render function and a line here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from asr_service.formats import json, openai, plain
from asr_service.formats.subtitles import render
from asr_service.formats.subtitles.layout import SubtitleStyle
from asr_service.transcript import Segment, Transcript

Styled = Callable[[Transcript, SubtitleStyle], str]

_DEFAULT_STYLE = SubtitleStyle()


class ErrorLine(Protocol):
    def __call__(self, code: str, message: str, *, kind: str = ..., param: str | None = ...) -> str: ...


@dataclass(frozen=True, slots=True)
class LineStream:
    """How an answer is written while it is still being found; every line (of SSE, every event) has its end.

    Either `closing` or `error` is the last, so that a reader knows a whole answer from one cut off.
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
    styled: Styled | None = None
    """`render` in a style of the caller's choice, where the format is one of subtitles: best with word times."""

    def in_style(self, style: SubtitleStyle) -> "Format":
        """The same format, laid out so; itself where there is no layout."""
        return _subtitles(self.name, self.media_type, self.styled, style) if self.styled else self


_NDJSON = LineStream(json.segment_line, json.closing_line, json.error_line)
_EVENTS = LineStream(openai.delta_event, openai.done_event, openai.error_event)


def _subtitles(name: str, media_type: str, styled: Styled, style: SubtitleStyle = _DEFAULT_STYLE) -> Format:
    return Format(name, media_type, lambda transcript: styled(transcript, style), styled=styled)


_JSON = Format("json", "application/json", json.render_json)
_VERBOSE_JSON = Format("verbose_json", "application/json", openai.render_verbose_json)
_TEXT = Format("text", "text/plain; charset=utf-8", plain.render_text)
_SRT = _subtitles("srt", "application/x-subrip; charset=utf-8", render.render_srt)
_VTT = _subtitles("vtt", "text/vtt; charset=utf-8", render.render_vtt)
_TSV = Format("tsv", "text/tab-separated-values; charset=utf-8", plain.render_tsv)
_LINES = Format("ndjson", "application/x-ndjson", json.render_ndjson, _NDJSON)
_OPENAI_JSON = Format("json", "application/json", openai.render_openai_json)


def _by_name(*formats: Format) -> Mapping[str, Format]:
    return MappingProxyType({fmt.name: fmt for fmt in formats})


FORMATS = _by_name(_JSON, _VERBOSE_JSON, _TEXT, _SRT, _VTT, _TSV, _LINES)
"""By the value of `response_format`."""

OPENAI_FORMATS = _by_name(_OPENAI_JSON, _VERBOSE_JSON, _TEXT, _SRT, _VTT)
"""The same at OpenAI's addresses, where `json` is another."""

WORDS_ONLY = Format("verbose_json", "application/json", openai.render_verbose_json_of_words)
"""OpenAI's verbose_json where words are asked for and segments are not."""

WORDS_TOO = Format("verbose_json", "application/json", openai.render_verbose_json_with_words)
"""OpenAI's verbose_json where words are asked for beside segments."""

EVENTS = Format("events", "text/event-stream; charset=utf-8", openai.render_events, _EVENTS)
"""OpenAI's stream of server-sent events."""
