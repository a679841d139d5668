"""What a job asks of the model, stage by stage, and the call that answers a batch of them."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from asr_service.audio.features import Features
from asr_service.engine.model.prompt import Prompt
from asr_service.engine.model.protocol import Alignment, Encoding, GenerateOptions, Generation, SpeechModel
from asr_service.engine.model.stages import Stage


@dataclass(frozen=True, slots=True)
class EncodeCall:
    features: Features
    detect_language: bool

    @property
    def key(self) -> Hashable:
        return self.features.shape

    @property
    def n_frames_padded(self) -> int:
        """The window's length, padding included, in frames of 10 ms."""
        return int(self.features.shape[1])


@dataclass(frozen=True, slots=True)
class Encoded:
    encoding: Encoding
    languages: dict[str, float] | None
    """Probabilities by code, most likely first, where they were asked for."""


@dataclass(frozen=True, slots=True)
class GenerateCall:
    encoding: Encoding
    prompt: Prompt
    options: GenerateOptions

    @property
    def key(self) -> Hashable:
        """Languages and tasks may differ within a batch; the options, the window and the prompt's shape may not."""
        return self.encoding.shape, self.prompt.shape, self.options

    @property
    def n_frames_padded(self) -> int:
        return 2 * int(self.encoding.shape[0])


@dataclass(frozen=True, slots=True)
class AlignCall:
    encoding: Encoding
    start_sequence: tuple[int, ...]
    text_tokens: tuple[int, ...]
    n_frames: int

    @property
    def key(self) -> Hashable:
        return self.encoding.shape, self.start_sequence

    @property
    def n_frames_padded(self) -> int:
        return 2 * int(self.encoding.shape[0])


Call = EncodeCall | GenerateCall | AlignCall

STAGES: dict[type, Stage] = {EncodeCall: Stage.ENCODE, GenerateCall: Stage.GENERATE, AlignCall: Stage.ALIGN}


def run_calls(model: SpeechModel, stage: Stage, calls: Sequence[Any]) -> Sequence[Any]:
    """Answer calls of one stage and key together: Encoded, Generation or Alignment for each, in order."""
    if stage is Stage.ENCODE:
        return _encode(model, calls)
    if stage is Stage.GENERATE:
        return _generate(model, calls)
    return _align(model, calls)


def _encode(model: SpeechModel, calls: Sequence[EncodeCall]) -> list[Encoded]:
    encodings = model.encode([call.features for call in calls])
    asking = [encoding for call, encoding in zip(calls, encodings, strict=True) if call.detect_language]
    languages = iter(model.detect_languages(asking) if asking else [])
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
