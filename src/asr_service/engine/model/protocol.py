"""The protocol of a speech model, and the values that go in and out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import tokenizers
from numpy.typing import NDArray

from asr_service.audio.features import Features
from asr_service.hardware.devices import Device
from asr_service.models.dimensions import ModelDimensions

Encoding = NDArray[np.floating]
"""The encoder's output for a window: [n_frames / 2, d_model], in host memory, so that each stage can form its own
batches. float16 or float32."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model is and how it was loaded."""

    name: str
    n_mels: int
    multilingual: bool
    device: Device
    compute_type: str
    threads: int
    """Model calls that run side by side, without the priority thread."""
    dimensions: ModelDimensions | None = None
    """None if they are not known."""
    revision: str = ""
    """Identifies the content of the model's files."""

    @property
    def priority_thread(self) -> bool:
        """Whether one more call may run, for first windows (`engine.schedule.batch.form_priority_batch`)."""
        return has_priority_thread(self.device)


@dataclass(frozen=True, slots=True)
class GenerateOptions:
    """Options of decoding that all windows of a call share."""

    beam_size: int
    temperature: float
    """0 means beam search; above 0, the best of `beam_size` samples is taken."""
    max_length: int
    """Tokens, prompt included."""
    suppress_tokens: tuple[int, ...]
    repetition_penalty: float = 1.0
    """Above 1, it lowers the probability of tokens that were generated before."""


@dataclass(frozen=True, slots=True)
class Generation:
    """The decoder's output for a window."""

    tokens: tuple[int, ...]
    avg_logprob: float
    no_speech_prob: float


@dataclass(frozen=True, slots=True)
class Alignment:
    """The encoder frames (20 ms each) of the text tokens: pairs (token index, frame index), both ascending."""

    pairs: tuple[tuple[int, int], ...]
    token_probs: tuple[float, ...]


class SpeechModel(Protocol):
    """A Whisper-like model. Up to `facts.threads` threads call it at once, and a priority thread if it has one.

    Every call may raise RuntimeError.
    """

    @property
    def facts(self) -> ModelFacts: ...

    @property
    def tokenizer(self) -> tokenizers.Tokenizer: ...

    def encode(self, windows: Sequence[Features]) -> list[Encoding]:
        """Encode windows of equal length: each float32 [n_mels, n_frames]."""

    def detect_languages(self, encodings: Sequence[Encoding]) -> list[dict[str, float]]:
        """Return probabilities by language code for each window, the most likely first."""

    def generate(
        self, encodings: Sequence[Encoding], prompts: Sequence[Sequence[int]], options: GenerateOptions
    ) -> list[Generation]:
        """Decode windows of equal length whose prompts have their task tokens at the same positions."""

    def align(
        self,
        encodings: Sequence[Encoding],
        start_sequence: Sequence[int],
        text_tokens: Sequence[Sequence[int]],
        n_frames: Sequence[int],
    ) -> list[Alignment]:
        """Align text tokens with time. `n_frames` is how many frames (10 ms) of each window are not padding."""


def has_priority_thread(device: Device) -> bool:
    """Return True for a CPU, whose cores more calls than cores can share; a GPU runs one call after the other."""
    return device.kind == "cpu"
