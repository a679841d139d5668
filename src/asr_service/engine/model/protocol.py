"""The speech model: what the engine asks of one, and CTranslate2's Whisper."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import tokenizers
from numpy.typing import NDArray

from asr_service.audio.features import Features
from asr_service.hardware.devices import Device
from asr_service.models.dimensions import ModelDimensions

_CPU_PRIORITY_THREAD: Final = True
"""False runs CPU slots without their priority thread, to measure what it is worth."""

Encoding = NDArray[np.floating]
"""What the encoder makes of a window: [n_frames / 2, d_model], in host memory, so that batches can be formed anew."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    name: str
    n_mels: int
    multilingual: bool
    device: Device
    compute_type: str
    threads: int
    """Calls of the model side by side that there are cores for."""
    dimensions: ModelDimensions | None = None
    """None if they are not known."""

    @property
    def priority_thread(self) -> bool:
        """Whether it serves one call more, for first words (`engine.schedule.batch.form_priority_batch`)."""
        return has_priority_thread(self.device)


@dataclass(frozen=True, slots=True)
class GenerateOptions:
    beam_size: int
    temperature: float
    """0 searches with a beam; above, the best of `beam_size` samples is taken."""
    max_length: int
    """Tokens, prompt included."""
    suppress_tokens: tuple[int, ...]
    repetition_penalty: float = 1.0
    """Above 1, tokens that were written before are made less likely by it."""


@dataclass(frozen=True, slots=True)
class Generation:
    tokens: tuple[int, ...]
    avg_logprob: float
    no_speech_prob: float


@dataclass(frozen=True, slots=True)
class Alignment:
    """Which encoder frame (20 ms) each text token is heard in: pairs of indices, both ascending."""

    pairs: tuple[tuple[int, int], ...]
    token_probs: tuple[float, ...]


class SpeechModel(Protocol):
    """A Whisper-like model, called by `facts.threads` threads at once, and by a priority thread.

    Every call may raise RuntimeError.
    """

    @property
    def facts(self) -> ModelFacts: ...

    @property
    def tokenizer(self) -> tokenizers.Tokenizer: ...

    def encode(self, windows: Sequence[Features]) -> list[Encoding]:
        """Encode windows of equal length."""

    def detect_languages(self, encodings: Sequence[Encoding]) -> list[dict[str, float]]:
        """Probabilities by language code, most likely first."""

    def generate(
        self, encodings: Sequence[Encoding], prompts: Sequence[Sequence[int]], options: GenerateOptions
    ) -> list[Generation]:
        """Decode windows of equal length whose prompts have their task tokens in the same place."""

    def align(
        self,
        encodings: Sequence[Encoding],
        start_sequence: Sequence[int],
        text_tokens: Sequence[Sequence[int]],
        n_frames: Sequence[int],
    ) -> list[Alignment]:
        """Time text tokens. `n_frames` (10 ms each) is what of each window is not padding."""


def has_priority_thread(device: Device) -> bool:
    """A CPU's cores are shared among more calls than there are cores; a GPU takes one call after the other."""
    return _CPU_PRIORITY_THREAD and device.kind == "cpu"
