"""The request fields and response bodies of the service's own API."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import core_schema

from asr_service.api.docs import examples
from asr_service.engine.request_options import RequestOptions
from asr_service.formats import FORMATS, TEXT_FORMATS
from asr_service.validation import TextFields


@dataclass(frozen=True, slots=True)
class OneOf:
    """Annotates a field that takes one of these names: a `Literal` whose values are known only at run time."""

    names: Collection[str]

    def __get_pydantic_core_schema__(self, *_: Any) -> core_schema.CoreSchema:
        return core_schema.literal_schema(list(self.names))


class _FormatParameter(BaseModel):
    """The first field of a form, before those of RequestOptions."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    response_format: Annotated[str, OneOf(FORMATS)] = "json"
    """Format of the response. `verbose_json` is OpenAI's. `ndjson` streams a line a segment, then a closing line."""


class LayoutParameters(TextFields):
    """The last fields of a form, after those of RequestOptions: the fields of a SubtitleStyle."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    max_line_width: Annotated[int, Field(ge=8, le=200)] | None = None
    """`srt` and `vtt`: maximum characters on a line, default 42. Full-width characters count twice."""
    max_line_count: Annotated[int, Field(ge=1, le=5)] | None = None
    """`srt` and `vtt`: maximum lines in a cue, default 2."""
    min_cue_s: Annotated[float, Field(ge=0, le=10)] | None = None
    """`srt` and `vtt`: minimum seconds that a cue is shown if the next cue leaves time, default 1."""
    max_cue_s: Annotated[float, Field(ge=1, le=60)] | None = None
    """`srt` and `vtt`: maximum seconds that a cue is shown, default 7."""
    max_chars_per_second: Annotated[float, Field(ge=1, le=100)] | None = None
    """`srt` and `vtt`: reading speed, default 20. A cue stays long enough to be read if the next cue leaves time."""
    highlight_words: bool | None = None
    """`vtt`: give each word its time within the cue, for players that highlight the spoken words."""


class TranscribeParameters(LayoutParameters, RequestOptions, _FormatParameter):
    """Options of /transcribe and /translate, as form fields or in the query. Settings have the defaults."""


class OutputParameters(LayoutParameters, _FormatParameter):
    """How a finished transcript is written."""

    model_config = ConfigDict(extra="forbid")


class FormatParameters(LayoutParameters):
    """How /format writes a transcript."""

    model_config = ConfigDict(extra="forbid")

    response_format: Annotated[str, OneOf(TEXT_FORMATS)]
    """Format of the response."""


class DetectParameters(TextFields):
    """Options of /detect-language, as form fields or in the query. Settings have the defaults."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    audio_track: Annotated[str, Field(min_length=1, max_length=40)] | None = None
    """Audio track of a file that has several: its number from 1, or its language."""
    vad_filter: bool | None = None
    """Skip audio without speech."""
    vad_threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    """Probability above which audio counts as speech."""
    min_silence_duration_ms: Annotated[int, Field(ge=0, le=10_000)] | None = None
    """Minimum silence that ends a span of speech."""
    speech_pad_ms: Annotated[int, Field(ge=0, le=5000)] | None = None
    """Audio that is kept on both sides of a span of speech."""


class WordSchema(BaseModel):
    word: str
    start: float
    end: float
    probability: float | None


class SegmentSchema(BaseModel):
    id: int
    start: float
    end: float
    text: str
    avg_logprob: float | None
    no_speech_prob: float | None
    compression_ratio: float | None
    temperature: float | None
    language: str
    words: list[WordSchema] | None = None


class TimingSchema(BaseModel):
    queue_ms: float
    decode_ms: float
    vad_ms: float
    inference_ms: float
    total_ms: float
    realtime_factor: float


class PeaksSchema(BaseModel):
    """The waveform of the recording."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    per_second: int
    """Number of peaks for each second of the recording."""
    data: str
    """The peaks in base64, a byte each: the largest absolute sample of the interval, of which 255 is full scale."""


class WarningDetailSchema(BaseModel):
    """What a warning says, for programs. docs/api.md lists the codes."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    code: str
    values: dict[str, int | float | str]
    """The numbers and names of the sentence."""


class TranscriptResponse(BaseModel):
    model_config = ConfigDict(json_schema_extra=examples.example_of(examples.TRANSCRIPT))

    text: str
    task: Literal["transcribe", "translate"]
    language: str | None
    language_probability: float | None
    duration: float
    duration_after_vad: float
    model: str
    warnings: list[str]
    warning_details: list[WarningDetailSchema]
    timing: TimingSchema
    peaks: PeaksSchema | None = None
    segments: list[SegmentSchema]


class DetectionResponse(BaseModel):
    """The detected language. If there is no speech, every field is null and `probabilities` is empty."""

    model_config = ConfigDict(use_attribute_docstrings=True, json_schema_extra=examples.example_of(examples.DETECTION))

    language: str | None
    """Code of the most likely language."""
    name: str | None
    """English name of the language."""
    probability: float | None
    probabilities: dict[str, float]
    """Probability of each language that the model knows, by code, the most likely first."""
    start: float | None
    """Start of the window that the language was detected in, in seconds from the start of the recording."""
    end: float | None
    model: str


class LanguageSchema(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    code: str
    name: str
    """In English."""
    known: bool
    """Whether the loaded model knows it."""


class LanguagesResponse(BaseModel):
    model_config = ConfigDict(json_schema_extra=examples.example_of(examples.LANGUAGES))

    model: str
    languages: list[LanguageSchema]


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(BaseModel):
    """The body of every error response, at every path."""

    model_config = ConfigDict(json_schema_extra=examples.example_of(examples.ERROR))

    error: ErrorDetail


class QueueSchema(BaseModel):
    windows: int
    audio_seconds: float
    open_requests: int


class HealthResponse(BaseModel):
    """The state of the slot: status 200 if it accepts requests, 503 with the same fields if it does not."""

    model_config = ConfigDict(protected_namespaces=())

    status: Literal["ok", "loading", "draining", "failed"]
    reason: str | None
    model_loaded: bool
    gpu_memory_used: str | None
    """Such as `9783 MiB`. Null without a GPU."""
    gpu_memory_total: str | None
    gpu_utilization: float | None
    gpu_temperature_celsius: float | None
    response_time_ms: float
    slot: int
    device: str
    model: str | None
    compute_type: str | None
    queue: QueueSchema
    uptime_s: float
    version: str
