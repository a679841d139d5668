"""The configuration of a session and the events that a client may send, as OpenAI's Realtime API has them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from asr_service.engine.request_options import LanguageField
from asr_service.validation import JsonFields

LOGPROBS = "item.input_audio_transcription.logprobs"
SEGMENTS = "item.input_audio_transcription.segments"
WORDS = "item.input_audio_transcription.words"
"""The values of `include`. OpenAI has the first; the others are extensions of this service."""

MAX_EVENT_ID_CHARS = 512
_MAX_PROMPT_CHARS = 16_000


def _known_includes(value: object) -> object:
    known = (LOGPROBS, SEGMENTS, WORDS)  # no set: a value may be a list, which has no hash
    return [each for each in value if each in known] if isinstance(value, list) else value


class _Part(JsonFields):
    """A part of the configuration. Unknown fields are ignored: `configuration` lists them for the client."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)


class Pcm(_Part):
    type: Literal["audio/pcm"]
    """Signed 16-bit little-endian samples, mono."""
    rate: Literal[8000, 16_000, 24_000, 44_100, 48_000] = 24_000
    """Sampling rate in Hz."""


class MuLaw(_Part):
    type: Literal["audio/pcmu"]
    """G.711 mu-law, 8000 Hz, mono."""


class ALaw(_Part):
    type: Literal["audio/pcma"]
    """G.711 A-law, 8000 Hz, mono."""


AudioFormat = Annotated[Pcm | MuLaw | ALaw, Field(discriminator="type")]


class Transcription(_Part):
    model: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """A name of the loaded model, as `GET /v1/models` lists them."""
    language: LanguageField | None = None
    """Language of the speech. Without it, the language of each turn is detected."""
    languages: Annotated[list[Annotated[str, Field(max_length=40)]], Field(max_length=100)] = Field(
        default_factory=list
    )
    """Languages that may be spoken. The detection chooses among them."""
    prompt: Annotated[str, Field(max_length=_MAX_PROMPT_CHARS)] | None = None
    """Text that shows the spelling and style to use. Its last 223 tokens count."""
    keywords: Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=100)] = Field(
        default_factory=list
    )
    """Names and terms to expect."""
    delay: Literal["minimal", "low", "medium", "high", "xhigh"] = "medium"
    """How long text is held back until it is certain."""


class ServerVad(_Part):
    """Turns begin and end where voice activity detection finds speech and silence."""

    type: Literal["server_vad"]
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Probability above which audio counts as speech."""
    prefix_padding_ms: Annotated[int, Field(ge=0, le=5000)] = 300
    """Audio before speech that belongs to the turn."""
    silence_duration_ms: Annotated[int, Field(ge=0, le=10_000)] = 500
    """Silence that ends a turn."""
    idle_timeout_ms: Annotated[int, Field(ge=1000, le=3_600_000)] | None = None
    """Time without speech after which the session reports it."""


class SemanticVad(_Part):
    """Voice activity detection whose silence follows from `eagerness`. The words that were spoken have no influence."""

    type: Literal["semantic_vad"]
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    """`high` ends a turn after 300 ms of silence, `medium` and `auto` after 600 ms, `low` after 1200 ms."""


TurnDetection = Annotated[ServerVad | SemanticVad, Field(discriminator="type")]


class AudioInput(_Part):
    format: AudioFormat = Pcm(type="audio/pcm")
    transcription: Transcription = Transcription()
    noise_reduction: Annotated[None, BeforeValidator(lambda _: None)] = None
    """Has no effect: Whisper was trained on noisy speech, and noise reduction makes its errors more frequent."""
    turn_detection: TurnDetection | None = ServerVad(type="server_vad")
    """`null`: the client commits its turns."""


class Audio(_Part):
    input: AudioInput = AudioInput()


class SessionConfiguration(_Part):
    """What a client may set. A session begins with the defaults."""

    type: Literal["transcription"] = "transcription"
    audio: Audio = Audio()
    include: Annotated[list[str], BeforeValidator(_known_includes)] = Field(default_factory=list)
    """What events have in addition."""


class ClientEvent(JsonFields):
    """The fields of every event that a client sends."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

    type: str
    event_id: Annotated[str, Field(max_length=MAX_EVENT_ID_CHARS)] | None = None
    """The client's own name of the event. An error that the event causes repeats it."""


class SessionUpdate(ClientEvent):
    session: dict[str, Any]


class Append(ClientEvent):
    audio: str
    """Base64 of at most 15 MiB of audio in the session's format."""


class Commit(ClientEvent):
    """Ends a turn."""


class Clear(ClientEvent):
    """Discards the audio that is not committed."""


class ExpiresAfter(JsonFields):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    anchor: Literal["created_at"] = "created_at"
    """The time from which `seconds` count."""
    seconds: Annotated[int, Field(ge=10, le=7200)] = 600
    """How long the secret can open sessions."""


class ClientSecretRequest(JsonFields):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    expires_after: ExpiresAfter = ExpiresAfter()
    """When the secret expires."""
    session: dict[str, Any] = Field(default_factory=dict)
    """Configuration of the sessions that the secret opens, as in `session.update`."""


class ClientSecretResponse(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    value: str
    """The secret. A browser offers it as the sub-protocol `openai-insecure-api-key.VALUE` of its WebSocket."""
    expires_at: int
    """Seconds since 1970."""
    session: dict[str, Any]
    """The effective configuration."""
