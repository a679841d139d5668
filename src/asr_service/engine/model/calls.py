"""Calls of the model, one class for each stage, and the function that runs a batch of them."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from asr_service.audio.features import Features
from asr_service.engine.model.prompt import Prompt
from asr_service.engine.model.protocol import Alignment, Encoding, GenerateOptions, Generation, SpeechModel
from asr_service.engine.model.stages import Stage


@dataclass(frozen=True, slots=True)
class EncodeCall:
    """Encodes a window, and detects its language on request. The result is `Encoded`."""

    features: Features
    detect_language: bool

    @property
    def key(self) -> Hashable:
        """Calls of one key can share a batch: windows of one length."""
        return self.features.shape

    @property
    def n_frames_padded(self) -> int:
        """Length of the window with its padding, in frames of 10 ms."""
        return int(self.features.shape[1])


@dataclass(frozen=True, slots=True)
class Encoded:
    """The result of an EncodeCall."""

    encoding: Encoding
    languages: dict[str, float] | None
    """Probabilities by language code, most likely first; None if they were not requested."""


@dataclass(frozen=True, slots=True)
class GenerateCall:
    """Decodes a window into tokens. The result is `Generation`."""

    encoding: Encoding
    prompt: Prompt
    options: GenerateOptions

    @property
    def key(self) -> Hashable:
        """Calls of one key can share a batch: their languages and tasks may differ, everything else may not."""
        return self.encoding.shape, self.prompt.shape, self.options

    @property
    def n_frames_padded(self) -> int:
        """Length of the window with its padding, in frames of 10 ms."""
        return 2 * int(self.encoding.shape[0])


@dataclass(frozen=True, slots=True)
class AlignCall:
    """Finds the times of text tokens in a window. The result is `Alignment`."""

    encoding: Encoding
    start_sequence: tuple[int, ...]
    text_tokens: tuple[int, ...]
    n_frames: int
    """Length of the window without its padding, in frames of 10 ms."""

    @property
    def key(self) -> Hashable:
        """Calls of one key can share a batch: windows of one length, in one language and task."""
        return self.encoding.shape, self.start_sequence

    @property
    def n_frames_padded(self) -> int:
        """Length of the window with its padding, in frames of 10 ms."""
        return 2 * int(self.encoding.shape[0])


Call = EncodeCall | GenerateCall | AlignCall

STAGES: Final[dict[type, Stage]] = {
    EncodeCall: Stage.ENCODE,
    GenerateCall: Stage.GENERATE,
    AlignCall: Stage.ALIGN,
}


def run_calls(model: SpeechModel, stage: Stage, calls: Sequence[Any]) -> Sequence[Any]:
    """Run calls of one stage and one key in one batch. Return Encoded, Generation or Alignment for each, in order.

    Raises RuntimeError: the model failed.
    """
    if stage is Stage.ENCODE:
        return _encode(model, calls)
    if stage is Stage.GENERATE:
        return _generate(model, calls)
    return _align(model, calls)


def _encode(model: SpeechModel, calls: Sequence[EncodeCall]) -> list[Encoded]:
    encodings = model.encode([call.features for call in calls])
    detecting = [encoding for call, encoding in zip(calls, encodings, strict=True) if call.detect_language]
    languages = iter(model.detect_languages(detecting) if detecting else [])
    return [
        Encoded(encoding, next(languages) if call.detect_language else None)
        for call, encoding in zip(calls, encodings, strict=True)
    ]


def _generate(model: SpeechModel, calls: Sequence[GenerateCall]) -> list[Generation]:
    return model.generate([call.encoding for call in calls], [call.prompt.tokens for call in calls], calls[0].options)


def _align(model: SpeechModel, calls: Sequence[AlignCall]) -> list[Alignment]:
    return model.align(
        [call.encoding for call in calls],
        calls[0].start_sequence,
        [call.text_tokens for call in calls],
        [call.n_frames for call in calls],
    )
