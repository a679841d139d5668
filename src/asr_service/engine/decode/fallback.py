"""Decodes an encoded window with fallback: tries the attempts in their order, and chooses the best result."""

from collections.abc import Awaitable, Callable
from typing import Final

from asr_service import metrics
from asr_service.audio.chunking import Chunk
from asr_service.audio.features import FULL_CONTEXT, Features
from asr_service.engine.decode.attempts import FALLBACK_REASONS, Attempt, Step, attempts
from asr_service.engine.decode.context import LONGER_CONTEXT
from asr_service.engine.decode.hypothesis import Hypothesis, best_of, evaluate
from asr_service.engine.decode.window_task import WindowTask
from asr_service.engine.model.calls import EncodeCall, GenerateCall
from asr_service.engine.model.prompt import Prompt, generate_options, max_output_tokens
from asr_service.engine.model.protocol import Encoding, Generation
from asr_service.engine.model.vocabulary import Vocabulary

_MAX_SKIPS: Final = 3
"""Maximum number of consecutive windows in which the model may leave speech out. After these, speech without text
counts as having no words."""
_NEW_CONTEXTS: Final = {Step.LONGER_CONTEXT: LONGER_CONTEXT, Step.FULL_CONTEXT: FULL_CONTEXT}


class FallbackDecoder:
    """Decodes windows to hypotheses with one model."""

    def __init__(
        self, vocabulary: Vocabulary, features: Callable[[Chunk, int], Awaitable[Features]], max_attempts: int
    ) -> None:
        """Create a decoder for one model.

        `features` computes the features of a chunk, padded to a number of frames. `max_attempts` limits the attempts
        for one window.
        """
        self._vocabulary = vocabulary
        self._features = features
        self._max_attempts = max_attempts
        for reason in FALLBACK_REASONS:
            metrics.FALLBACKS.labels(reason)  # with the value 0: without a sample, a rate has no value

    async def decode(self, task: WindowTask, encoding: Encoding, language: str) -> tuple[Hypothesis, Encoding, int]:
        """Make the attempts in their order, each only if it is needed.

        `encoding` is that of the task's features. Return the best hypothesis, its encoding, and the number of attempts.

        Raises EngineStopped, DeadlineExceeded, InferenceFailed, Overloaded: the scheduler or the model failed.
        """
        options = task.request.options
        before = await self._text_before(task, language)
        prompt = self._vocabulary.prompt(options, language, before)
        tried: list[Hypothesis] = []
        encodings: list[Encoding] = []
        for attempt in attempts(options, task.context_frames, has_text_before=bool(before)):
            if tried:
                reason = attempt.reason(tried)
                if reason is None:
                    continue
                if len(tried) == min(task.budget.decodes, self._max_attempts):
                    break
                metrics.FALLBACKS.labels(reason).inc()
                prompt, before = self._vocabulary.prompt(options, language), ()
            if n_frames := _NEW_CONTEXTS.get(attempt.step):
                features = await self._features(task.chunk, n_frames)
                encoding = (await task.submit(EncodeCall(features, detect_language=False))).encoding
            tried.append(await self._attempt(task, encoding, prompt, attempt, self._vocabulary.text(before)))
            encodings.append(encoding)
        best = best_of(tried)
        return best, encodings[tried.index(best)], len(tried)

    async def _text_before(self, task: WindowTask, language: str) -> tuple[int, ...]:
        """Wait for the text before this window, and return its tokens if it is in the same language."""
        before = await task.known_text_before()
        return before.tokens if before.language == language else ()

    async def _attempt(
        self, task: WindowTask, encoding: Encoding, prompt: Prompt, attempt: Attempt, text_before: str
    ) -> Hypothesis:
        options = generate_options(
            task.request.options, prompt, attempt.temperature, self._vocabulary.suppressed, attempt.repetition_penalty
        )
        generation: Generation = await task.submit(GenerateCall(encoding, prompt, options))
        limit = max_output_tokens(options, prompt)
        is_all_speech = task.chunk.is_part and task.request.options.vad_filter and task.budget.n_continued < _MAX_SKIPS
        return evaluate(
            generation,
            attempt.temperature,
            self._vocabulary,
            task.chunk.duration_s,
            limit,
            text_before,
            has_prompt=prompt.sot_index > 0,
            is_all_speech=is_all_speech,
        )
