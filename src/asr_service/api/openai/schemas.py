"""The request fields and response bodies of OpenAI's APIs: https://github.com/openai/openai-openapi."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, WithJsonSchema
from pydantic_core import from_json

from asr_service.api.docs import examples
from asr_service.api.native.schemas import OneOf, TranscribeParameters
from asr_service.formats import OPENAI_FORMATS
from asr_service.validation import JsonFields

Granularity = Literal["segment", "word"]
LanguageName = Annotated[str, Field(max_length=40)]


class ServerVad(JsonFields):
    """Options of voice activity detection. The defaults are OpenAI's."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

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


class OpenAIForm(TranscribeParameters):
    """Fields of /v1/audio/transcriptions and /v1/audio/translations besides `file`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, protected_namespaces=())

    model: Annotated[str, Field(min_length=1, max_length=200, examples=["whisper-1"])]
    """A name of the loaded model, as `GET /v1/models` lists them."""
    response_format: Annotated[str, OneOf(OPENAI_FORMATS)] = "json"
    """Format of the response. `verbose_json` has segments with times."""
    prompt: str | None = None
    """Text that shows the spelling and style to use. Its last 223 tokens count. Another name of `initial_prompt`."""
    languages: Annotated[list[LanguageName], Field(max_length=100)] = Field(default_factory=list)
    """Languages that may be spoken. The detection chooses among them; a single one is like `language`."""
    keywords: Annotated[list[str], Field(max_length=100)] = Field(default_factory=list)
    """Names and terms to expect, as in `hotwords`."""
    timestamp_granularities: Annotated[list[Granularity], Field(max_length=2)] = Field(default_factory=list)
    """What `verbose_json` times, by default segments. Other formats do not change."""
    stream: bool = False
    """Respond with server-sent events: the text of each segment as soon as it is known. For `json` and `text` only."""
    chunking_strategy: Chunking | None = None
    """`auto` skips audio without speech, with the configured options. An object sets the options."""
    without_timestamps: bool | None = None
    """The opposite of `timestamps`."""
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    """Another name of `max_new_tokens`, of which more than 448 count as 448."""


class SecondsUsed(BaseModel):
    type: Literal["duration"]
    seconds: float


class SpokenLanguage(BaseModel):
    code: str


class OpenAITranscription(BaseModel):
    model_config = ConfigDict(
        use_attribute_docstrings=True, json_schema_extra=examples.example_of(examples.OPENAI_JSON)
    )

    text: str
    languages: list[SpokenLanguage]
    """The languages of the segments, in their order. Empty if there is no speech."""
    usage: SecondsUsed


class OpenAIWord(BaseModel):
    word: str
    start: float
    end: float


class OpenAISegment(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

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
    model_config = ConfigDict(
        use_attribute_docstrings=True, json_schema_extra=examples.example_of(examples.VERBOSE_JSON)
    )

    task: Literal["transcribe", "translate"]
    language: str
    """English name of the text's language, in lower case. `unknown` if there is no speech."""
    duration: float
    text: str
    languages: list[SpokenLanguage]
    usage: SecondsUsed
    words: list[OpenAIWord] | None = None
    segments: list[OpenAISegment] | None = None


class ModelResponse(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True, json_schema_extra=examples.example_of(examples.MODEL))

    id: str
    object: Literal["model"]
    created: int
    """Start time of this slot's process, in seconds since 1970."""
    owned_by: str


class ModelsResponse(BaseModel):
    model_config = ConfigDict(json_schema_extra=examples.example_of(examples.MODELS))

    object: Literal["list"]
    data: list[ModelResponse]
