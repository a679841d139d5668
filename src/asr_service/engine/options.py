"""The options that windows are decoded with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from asr_service.audio.vad import VadOptions
from asr_service.languages import ChineseScript

Task = Literal["transcribe", "translate"]

MAX_LENGTH: Final = 448
"""Tokens that Whisper's decoder can hold, prompt included."""
_FALLBACK_TEMPERATURES: Final = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True, slots=True)
class DecodingOptions:
    """The options of one request, complete and checked against the model."""

    task: Task = "transcribe"
    language: str | None = None
    """Whisper's code of the language spoken; None detects it from the first window."""
    languages: tuple[str, ...] = ()
    """Whisper's codes of the languages that the detection chooses among. Empty for all languages of the model."""
    script: ChineseScript | None = None
    """The script of Chinese text. None keeps that in which the model begins the recording."""
    language_per_chunk: bool = False
    """Detect the language in every window, and split windows where it changes."""
    beam_size: int = 5
    """Beam width, from 1 to 10. With a temperature above 0, the number of samples of which the best is taken."""
    temperature: float = 0.0
    """0 starts with beam search and falls back to sampling at higher temperatures. Above 0, only this temperature is
    used."""
    initial_prompt: str | None = None
    hotwords: str | None = None
    condition_on_previous_text: bool = False
    """Show the model the text before each window. Windows then wait for each other."""
    max_new_tokens: int = MAX_LENGTH
    """Maximum tokens generated per window."""
    timestamps: bool = True
    """Generate segment timestamps. Without them a window is one segment."""
    word_timestamps: bool = False
    audio_track: str | None = None
    """The audio track to decode: its number from 1, or the tags of its language, separated by commas."""
    vad_filter: bool = True
    """Leave out parts of the recording without speech."""
    vad: VadOptions = field(default_factory=VadOptions)
    peaks: bool = False
    """Measure the waveform."""

    def among_candidates(self, probabilities: Mapping[str, float]) -> dict[str, float]:
        """Return the probabilities of the languages that may be spoken, in their order; at least one language."""
        if not self.languages:
            return dict(probabilities)
        found = {code: share for code, share in probabilities.items() if code in self.languages}
        return found or {self.languages[0]: 0.0}

    @property
    def temperatures(self) -> tuple[float, ...]:
        """The temperatures to try, in this order."""
        return _FALLBACK_TEMPERATURES if self.temperature == 0 else (self.temperature,)
