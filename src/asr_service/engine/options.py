"""How a window is decoded: the options, the prompt, and the rules that send it round again."""

from dataclasses import dataclass, field
from typing import Literal

from asr_service.audio.vad import VadOptions

Task = Literal["transcribe", "translate"]

MAX_LENGTH = 448
"""Tokens that Whisper's decoder takes, prompt included."""
_FALLBACK_TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True, slots=True)
class DecodingOptions:
    """What a request asks for, checked against the model."""

    task: Task = "transcribe"
    language: str | None = None
    """A code; None detects it from the first speech."""
    language_per_chunk: bool = False
    """Detect the language of each window anew."""
    beam_size: int = 5
    temperature: float = 0.0
    """0 starts with beam search and falls back to sampling, hotter each time; above 0, this temperature alone."""
    initial_prompt: str | None = None
    hotwords: str | None = None
    max_new_tokens: int = MAX_LENGTH
    timestamps: bool = True
    word_timestamps: bool = False
    vad_filter: bool = True
    vad: VadOptions = field(default_factory=VadOptions)

    @property
    def temperatures(self) -> tuple[float, ...]:
        return _FALLBACK_TEMPERATURES if self.temperature == 0 else (self.temperature,)
