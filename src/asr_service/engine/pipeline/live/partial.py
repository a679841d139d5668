"""Decodes an utterance that is still being spoken: one cheap attempt, which continues the text that was sent."""

import asyncio
import math
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from asr_service.audio import SAMPLE_RATE
from asr_service.audio.features import FRAMES_PER_SECOND, LogMel
from asr_service.engine.decode.context import context_frames
from asr_service.engine.decode.hypothesis import evaluate
from asr_service.engine.model.calls import AlignCall, EncodeCall, Encoded, GenerateCall
from asr_service.engine.model.prompt import Prompt
from asr_service.engine.model.protocol import Alignment, Encoding, GenerateOptions, Generation
from asr_service.engine.model.vocabulary import Vocabulary
from asr_service.engine.options import MAX_LENGTH, DecodingOptions
from asr_service.engine.schedule.request import RequestHandle
from asr_service.stages import stage

PARTIAL_MARGIN_S: Final = 2.0
"""Padding after the sound of an unfinished utterance, where the encoder's context is short."""
_SHORT_S: Final = 10.0
_SHORT_OUTPUT: Final = 112
"""Tokens, the sent ones included, of an utterance of up to `_SHORT_S`. A loop ends there."""
_LONG_OUTPUT: Final = MAX_LENGTH // 2
_ALIGNMENT_FRAME_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Utterance:
    """The sound of an utterance so far, and the text of it that was sent."""

    samples: NDArray[np.float32]
    """float32 [n], 16 kHz mono, at most 30 s."""
    sent: str
    language: str | None
    """None detects it."""
    tokens_before: Sequence[int] = ()
    """Text tokens of the utterance before, if this one continues it."""


@dataclass(frozen=True, slots=True)
class PartialHypothesis:
    """What an utterance has after the sent text."""

    text: str
    """Empty if the hypothesis fails the rules of a final text, or is silent."""
    language: str
    language_probability: float
    encoding: Encoding
    """For `PartialDecoder.start_of`."""


class PartialDecoder:
    """Decodes unfinished utterances with one model."""

    def __init__(
        self, vocabulary: Vocabulary, log_mel: LogMel, cpu_pool: Executor, *, multilingual: bool, margin_s: float | None
    ) -> None:
        """Create a decoder. `margin_s` is the padding after the sound; None always pads to 30 s."""
        self._vocabulary = vocabulary
        self._log_mel = log_mel
        self._cpu_pool = cpu_pool
        self._multilingual = multilingual
        self._margin_s = margin_s

    async def decode(self, request: RequestHandle, utterance: Utterance) -> PartialHypothesis:
        """Return the text after the sent one.

        The calls count no audio, since the same audio is decoded again and again.

        Raises Unavailable, DeadlineExceeded, InferenceFailed.
        """
        n_frames = context_frames(len(utterance.samples) / SAMPLE_RATE, self._margin_s)
        loop = asyncio.get_running_loop()
        with stage("features"):
            features = await loop.run_in_executor(self._cpu_pool, self._log_mel, utterance.samples, n_frames)
        detect = self._multilingual and utterance.language is None
        encoded: Encoded = await request.submit(EncodeCall(features, detect), audio_s=0.0, is_first_window=True)
        language, probability = self._language(encoded, utterance, request.options)
        text = await self._text(request, utterance, encoded.encoding, language)
        return PartialHypothesis(text, language, probability, encoded.encoding)

    async def start_of(
        self, request: RequestHandle, partial: PartialHypothesis, before: str, rest: str, sound_s: float
    ) -> float:
        """Return the second of an utterance at which the text `rest` begins, which follows the text `before`.

        Raises Unavailable, DeadlineExceeded, InferenceFailed.
        """
        tokenizer = self._vocabulary.tokenizer_for(partial.language, request.options.task)
        first, second = (self._vocabulary.text_tokens(tokenizer.encode(text)) for text in (before, rest))
        call = AlignCall(
            partial.encoding, tuple(tokenizer.sot_sequence), (*first, *second), round(sound_s * FRAMES_PER_SECOND)
        )
        alignment: Alignment = await request.submit(call, audio_s=0.0, is_first_window=True)
        frames = (frame for token, frame in alignment.pairs if token >= len(first))
        return min(next(frames, math.inf) * _ALIGNMENT_FRAME_S, sound_s)

    def _language(self, encoded: Encoded, utterance: Utterance, options: DecodingOptions) -> tuple[str, float]:
        if utterance.language is not None:
            return utterance.language, 1.0
        if not self._multilingual:
            return "en", 1.0
        return next(iter(options.among_candidates(encoded.languages or {}).items()))

    async def _text(self, request: RequestHandle, utterance: Utterance, encoding: Encoding, language: str) -> str:
        duration_s = len(utterance.samples) / SAMPLE_RATE
        n_output = _SHORT_OUTPUT if duration_s <= _SHORT_S else _LONG_OUTPUT
        options = replace(request.options, beam_size=1, timestamps=False)
        prompt = self._prompt(options, utterance, language)
        if prompt.n_forced >= n_output - 1:
            return ""
        suppressed = self._vocabulary.suppressed
        how = GenerateOptions(1, 0.0, max_length=2 * n_output, suppress_tokens=suppressed)
        generation: Generation = await request.submit(
            GenerateCall(encoding, prompt, how), audio_s=0.0, is_first_window=True
        )
        # `has_prompt` makes every repeated sequence count, not only those that are too fast for speech.
        hypothesis = evaluate(generation, 0.0, self._vocabulary, duration_s, n_output, has_prompt=True)
        if hypothesis.is_silent or hypothesis.fallback_reason is not None or hypothesis.doubled_letters:
            return ""
        return self._vocabulary.text(generation.tokens[prompt.n_forced :])

    def _prompt(self, options: DecodingOptions, utterance: Utterance, language: str) -> Prompt:
        tokenizer = self._vocabulary.tokenizer_for(language, options.task)
        sent = self._vocabulary.text_tokens(tokenizer.encode(utterance.sent))
        return self._vocabulary.prompt(options, language, utterance.tokens_before).forcing(sent)
