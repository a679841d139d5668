"""The request fields and response bodies of OpenAI's APIs: https://github.com/openai/openai-openapi."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, WithJsonSchema
from pydantic_core import from_json

from asr_service.api.docs import examples
from asr_service.api.native.schemas import OneOf
from asr_service.formats import OPENAI_FORMATS

Granularity = Literal["segment", "word"]


class ServerVad(BaseModel):
    """Options of voice activity detection. The defaults are OpenAI's."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)

    type: Literal["server_vad"]
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Probability above which audio counts as speech."""
    prefix_padding_ms: Annotated[int, Field(ge=0, le=5000)] = 300
    """Audio that is kept before speech. This service also keeps it after speech."""
    silence_duration_ms: Annotated[int, Field(ge=0, le=10_000)] = 200
    """Minimum silence that ends a span of speech."""


def _decoded(value: object) -> object:
    """Parse an object, which a form field has as JSON. Raises ValueError: the JSON is invalid."""
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
    """Fields of /v1/audio/translations besides `file`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, protected_namespaces=())

    model: Annotated[str, Field(min_length=1, max_length=200)]
    """A name of the loaded model, as `GET /v1/models` lists it, or `whisper-1`, which stands for the loaded model."""
    prompt: str | None = None
    """Text that shows the spelling and style to use. Its last 223 tokens count."""
    response_format: Annotated[str, OneOf(OPENAI_FORMATS)] = "json"
    """Format of the response. `verbose_json` has segments with times."""
    temperature: Annotated[float, Field(ge=0, le=1)] = 0
    """0 starts with beam search and samples only if that fails. Above 0, it samples at that temperature."""


class TranscriptionForm(TranslationForm):
    """Fields of /v1/audio/transcriptions besides `file`."""

    language: Annotated[str, Field(max_length=40)] | None = None
    """Language of the speech: a code or an English name. The default is ASR_LANGUAGE, else it is detected."""
    languages: Annotated[list[Annotated[str, Field(max_length=40)]], Field(max_length=1)] = []
    """A list of one language, as in `language`. Several languages are refused."""
    keywords: Annotated[list[str], Field(max_length=100)] = []
    """Names and terms that are likely to occur."""
    timestamp_granularities: Annotated[list[Granularity], Field(max_length=2)] = []
    """What `verbose_json` times, by default segments. Refused with other formats."""
    stream: bool = False
    """Respond with server-sent events: the text of each segment as soon as it is known. For `json` and `text` only."""
    chunking_strategy: Chunking | None = None
    """`auto` skips audio without speech, with the configured options. An object sets the options."""


class SecondsUsed(BaseModel):
    type: Literal["duration"]
    seconds: float


class OpenAITranscription(BaseModel):
    model_config = ConfigDict(json_schema_extra=examples.example_of(examples.OPENAI_JSON))

    text: str
    usage: SecondsUsed


class OpenAIWord(BaseModel):
    word: str
    start: float
    end: float


class OpenAISegment(BaseModel):
    id: int
    seek: int
    """Start of the window that the segment was decoded in, in hundredths of a second."""
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float


class OpenAIVerboseTranscription(BaseModel):
    model_config = ConfigDict(json_schema_extra=examples.example_of(examples.VERBOSE_JSON))

    task: Literal["transcribe", "translate"]
    language: str
    """English name of the text's language, in lower case. `unknown` if there is no speech."""
    duration: float
    text: str
    usage: SecondsUsed
    words: list[OpenAIWord] | None = None
    segments: list[OpenAISegment] | None = None


class ModelResponse(BaseModel):
    model_config = ConfigDict(json_schema_extra=examples.example_of(examples.MODEL))

    id: str
    object: Literal["model"]
    created: int
    """Start time of this slot's process, in seconds since 1970."""
    owned_by: str


class ModelsResponse(BaseModel):
    model_config = ConfigDict(json_schema_extra=examples.example_of(examples.MODELS))

    object: Literal["list"]
    data: list[ModelResponse]
