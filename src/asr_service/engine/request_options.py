"""The options of a transcription that a request may set."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from asr_service.languages import chosen_language


def _check_language(text: str) -> str:
    chosen_language(text)
    return text


class RequestOptions(BaseModel):
    """Options of a transcription. What a request leaves out is as configured.

    An unknown language raises InvalidParameter, like every other error that `asr_service.validation` reports.
    """

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    language: Annotated[str, Field(max_length=40), AfterValidator(_check_language)] | None = None
    """Language of the speech: a code or an English name; `auto` detects it from the first speech, `auto-per-chunk` in
    each stretch between pauses, of at most 6 s, for recordings in several languages."""
    task: Literal["transcribe", "translate"] | None = None
    """`translate` writes English whatever was spoken. At /translate it is the only task."""
    beam_size: Annotated[int, Field(ge=1, le=10)] | None = None
    """Hypotheses followed at once: more is slower and a little better."""
    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    """0 starts with beam search and samples only where that fails; above 0, samples at that temperature."""
    initial_prompt: Annotated[str, Field(max_length=4000)] | None = None
    """Text that sets spelling and style; its last 223 tokens count."""
    hotwords: Annotated[str, Field(max_length=4000)] | None = None
    """Words to expect: names, terms."""
    vad_filter: bool | None = None
    """Leave out what holds no speech."""
    vad_threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    """Speech probability above which a moment is speech."""
    min_silence_duration_ms: Annotated[int, Field(ge=0, le=10_000)] | None = None
    """Silence that ends a stretch of speech."""
    speech_pad_ms: Annotated[int, Field(ge=0, le=5000)] | None = None
    """Audio kept on both sides of a stretch of speech."""
    timestamps: bool | None = None
    """Let the model time its segments. Off, a window is one segment."""
    word_timestamps: bool | None = None
    """Time each word. Subtitles of /transcribe have it by default, since their cues are cut by it."""
    max_new_tokens: Annotated[int, Field(ge=1, le=448)] | None = None
    """Most tokens that a window may give."""
