"""The wire at OpenAI's addresses: https://github.com/openai/openai-openapi, and what its Python SDK sends."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, WithJsonSchema
from pydantic_core import from_json

from asr_service.api.docs import examples
from asr_service.api.native.schemas import OneOf
from asr_service.formats import OPENAI_FORMATS

Granularity = Literal["segment", "word"]


class ServerVad(BaseModel):
    """Voice activity as the caller wants it; what is left out is as the contract has it."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)

    type: Literal["server_vad"]
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Speech probability above which a moment is speech."""
    prefix_padding_ms: Annotated[int, Field(ge=0, le=5000)] = 300
    """Audio kept before speech, and here after it too."""
    silence_duration_ms: Annotated[int, Field(ge=0, le=10_000)] = 200
    """Silence that ends a stretch of speech."""


def _decoded(value: object) -> object:
    """A form field holds the object as JSON. Raises ValueError."""
    if not (isinstance(value, str) and value.lstrip().startswith("{")):
        return value
    try:
        return from_json(value)
    except ValueError:
        raise ValueError("expected auto or a JSON object") from None


def _kind(value: object) -> str:
    return "server_vad" if isinstance(value, Mapping | ServerVad) else "auto"


Chunking = Annotated[
    Annotated[Literal["auto"], Tag("auto")] | Annotated[ServerVad, Tag("server_vad")],
    Discriminator(_kind),
    BeforeValidator(_decoded),
    WithJsonSchema({"oneOf": [{"const": "auto"}, ServerVad.model_json_schema()]}),
]


class TranslationForm(BaseModel):
    """Fields of /v1/audio/translations beside `file`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, protected_namespaces=())

    model: Annotated[str, Field(min_length=1, max_length=200)]
    """A name of the loaded model (`GET /v1/models` lists them), or `whisper-1`, which stands for it."""
    prompt: str | None = None
    """Text that sets spelling and style; its last 223 tokens count."""
    response_format: Annotated[str, OneOf(OPENAI_FORMATS)] = "json"
    """`verbose_json` has the segments with their times."""
    temperature: Annotated[float, Field(ge=0, le=1)] = 0
    """0 starts with beam search and samples only where that fails; above 0, samples at that temperature."""


class TranscriptionForm(TranslationForm):
    """Fields of /v1/audio/transcriptions beside `file`."""

    language: Annotated[str, Field(max_length=40)] | None = None
    """Language of the speech: a code or an English name; left out, it is as configured, or detected."""
    languages: Annotated[list[Annotated[str, Field(max_length=40)]], Field(max_length=1)] = []
    """One language, as in `language`: several to choose from are refused."""
    keywords: Annotated[list[str], Field(max_length=100)] = []
    """Words to expect: names, terms."""
    timestamp_granularities: Annotated[list[Granularity], Field(max_length=2)] = []
    """What verbose_json times: segments unless it says otherwise. Refused with other formats."""
    stream: bool = False
    """Server-sent events, a delta of the text for each segment as soon as it is known; with `json` and `text`."""
    chunking_strategy: Chunking | None = None
    """`auto` leaves out what holds no speech, as configured; an object says from where on it is speech."""


class SecondsUsed(BaseModel):
    type: Literal["duration"]
    seconds: float


class OpenAITranscription(BaseModel):
    model_config = ConfigDict(json_schema_extra=examples.shown(examples.OPENAI_JSON))

    text: str
    usage: SecondsUsed


class OpenAIWord(BaseModel):
    word: str
    start: float
    end: float


class OpenAISegment(BaseModel):
    id: int
    seek: int
    """Where the window began that it was decoded in, in hundredths of a second."""
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float


class OpenAIVerboseTranscription(BaseModel):
    model_config = ConfigDict(json_schema_extra=examples.shown(examples.VERBOSE_JSON))

    task: Literal["transcribe", "translate"]
    language: str
    """The text's language by its English name in lower case; `unknown` where nothing was said to tell it by."""
    duration: float
    text: str
    usage: SecondsUsed
    words: list[OpenAIWord] | None = None
    segments: list[OpenAISegment] | None = None


class ModelResponse(BaseModel):
    model_config = ConfigDict(json_schema_extra=examples.shown(examples.MODEL))

    id: str
    object: Literal["model"]
    created: int
    """When this slot's process began, in seconds since 1970."""
    owned_by: str


class ModelsResponse(BaseModel):
    model_config = ConfigDict(json_schema_extra=examples.shown(examples.MODELS))

    object: Literal["list"]
    data: list[ModelResponse]
