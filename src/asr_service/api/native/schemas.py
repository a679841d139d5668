"""The request fields and response bodies of the service's own API."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import core_schema

from asr_service.api.docs import examples
from asr_service.engine.request_options import RequestOptions
from asr_service.formats import FORMATS


@dataclass(frozen=True, slots=True)
class OneOf:
    """Annotates a field that takes one of these names: a `Literal` whose values are known only at run time."""

    names: Collection[str]

    def __get_pydantic_core_schema__(self, *_: Any) -> core_schema.CoreSchema:
        return core_schema.literal_schema(list(self.names))


class _FormatParameter(BaseModel):
    """The first field of TranscribeParameters, before those of RequestOptions."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    response_format: Annotated[str, OneOf(FORMATS)] = "json"
    """`ndjson` streams a line a segment as soon as it is known, then a closing line; `verbose_json` is OpenAI's."""


class TranscribeParameters(RequestOptions, _FormatParameter):
    """Options of /transcribe and /translate, as form fields or in the query. What is left out is as configured."""

    max_line_width: Annotated[int, Field(ge=8, le=200)] | None = None
    """`srt` and `vtt`: most characters on a line, full-width ones counting twice; by default 42."""
    max_line_count: Annotated[int, Field(ge=1, le=5)] | None = None
    """`srt` and `vtt`: most lines in a cue; by default 2."""
    min_cue_s: Annotated[float, Field(ge=0, le=10)] | None = None
    """`srt` and `vtt`: seconds that a cue is shown at least, where the next leaves room; by default 1."""
    max_cue_s: Annotated[float, Field(ge=1, le=60)] | None = None
    """`srt` and `vtt`: seconds that a cue is shown at most; by default 7."""
    max_chars_per_second: Annotated[float, Field(ge=1, le=100)] | None = None
    """`srt` and `vtt`: how fast is read; a cue stays so long, where the next leaves room; by default 20."""
    highlight_words: bool | None = None
    """`vtt`: give each word its time within the cue, for players that mark what has been said."""


class DetectParameters(BaseModel):
    """Options of /detect-language, as form fields or in the query. What is left out is as configured."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    vad_filter: bool | None = None
    """Pass over what holds no speech."""
    vad_threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    """Speech probability above which a moment is speech."""
    min_silence_duration_ms: Annotated[int, Field(ge=0, le=10_000)] | None = None
    """Silence that ends a stretch of speech."""
    speech_pad_ms: Annotated[int, Field(ge=0, le=5000)] | None = None
    """Audio kept on both sides of a stretch of speech."""


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


class TranscriptResponse(BaseModel):
    model_config = ConfigDict(json_schema_extra=examples.shown(examples.TRANSCRIPT))

    text: str
    task: Literal["transcribe", "translate"]
    language: str | None
    language_probability: float | None
    duration: float
    duration_after_vad: float
    model: str
    warnings: list[str]
    timing: TimingSchema
    segments: list[SegmentSchema]


class DetectionResponse(BaseModel):
    """All null, and no probabilities, where no speech was found."""

    model_config = ConfigDict(use_attribute_docstrings=True, json_schema_extra=examples.shown(examples.DETECTION))

    language: str | None
    """The likeliest language's code."""
    name: str | None
    """Its English name."""
    probability: float | None
    probabilities: dict[str, float]
    """Of each language that the model knows, by code, the likeliest first."""
    start: float | None
    """Seconds into the recording: where the window begins that the language was told by."""
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
    model_config = ConfigDict(json_schema_extra=examples.shown(examples.LANGUAGES))

    model: str
    languages: list[LanguageSchema]


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(BaseModel):
    """Every failure, at every address."""

    model_config = ConfigDict(json_schema_extra=examples.shown(examples.ERROR))

    error: ErrorDetail


class QueueSchema(BaseModel):
    windows: int
    audio_seconds: float
    open_requests: int


class HealthResponse(BaseModel):
    """200 where the slot takes requests, 503 with the same fields where it does not."""

    model_config = ConfigDict(protected_namespaces=())

    status: Literal["ok", "loading", "draining", "failed"]
    reason: str | None
    model_loaded: bool
    gpu_memory_used: str | None
    """Such as `9783 MiB`; null without a GPU."""
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
