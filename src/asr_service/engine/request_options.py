"""The options of a transcription that a request may set."""

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, ConfigDict, Field

from asr_service.languages import chosen_language
from asr_service.validation import TextFields

MAX_PROMPT_CHARS: Final = 4000
"""Well over the 223 tokens of a prompt that count."""


def _check_language(text: str) -> str:
    chosen_language(text)
    return text


LanguageField = Annotated[str, Field(max_length=40), AfterValidator(_check_language)]


class RequestOptions(TextFields):
    """Options of a transcription. The settings have the defaults.

    Validate with `asr_service.validation.check_fields`, which raises InvalidParameter. An unknown language raises
    InvalidParameter in any case.
    """

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    language: LanguageField | None = None
    """Language of the speech: a code (`pt`, `por`) or a name (`Portuguese`, `português`). `zh-Hans`, `zh-Hant`, `zh-TW`
    and `zh-HK` choose the script of Chinese text. `auto` detects the language from the first speech. `auto-per-chunk`
    is for recordings in several languages: it detects the language of each part between pauses, of at most 6 s."""
    task: Literal["transcribe", "translate"] | None = None
    """`translate` writes English, whatever language is spoken. /translate accepts no other task."""
    beam_size: Annotated[int, Field(ge=1, le=10)] | None = None
    """Beam width. Larger is slower and slightly more accurate."""
    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    """0 starts with beam search and samples only if that fails. Above 0, it samples at that temperature."""
    initial_prompt: Annotated[str, Field(max_length=MAX_PROMPT_CHARS)] | None = None
    """Text that shows the spelling and style to use. Its last 223 tokens count."""
    hotwords: Annotated[str, Field(max_length=MAX_PROMPT_CHARS)] | None = None
    """Names and terms to expect."""
    condition_on_previous_text: bool | None = None
    """Show the model the text of earlier windows, as if it were part of the prompt. Names and style then change less
    within a recording, which takes longer, because its windows wait for each other."""
    audio_track: Annotated[str, Field(min_length=1, max_length=40)] | None = None
    """Audio track of a file that has several: its number from 1, or its language. By default the track that is marked
    as default, or else the first."""
    vad_filter: bool | None = None
    """Skip audio without speech."""
    vad_threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    """Probability above which audio counts as speech."""
    min_silence_duration_ms: Annotated[int, Field(ge=0, le=10_000)] | None = None
    """Minimum silence that ends a span of speech."""
    speech_pad_ms: Annotated[int, Field(ge=0, le=5000)] | None = None
    """Audio that is kept on both sides of a span of speech."""
    timestamps: bool | None = None
    """Generate segment timestamps. Without them, each window is one segment."""
    word_timestamps: bool | None = None
    """Add start and end times to each word. Default for subtitles at /transcribe, whose cues are cut by word times."""
    max_new_tokens: Annotated[int, Field(ge=1, le=448)] | None = None
    """Maximum tokens generated per window."""
    peaks: bool | None = None
    """`json` and `ndjson`: add the waveform, as 20 peaks a second, for players that draw it."""
