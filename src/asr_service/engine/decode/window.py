"""Decodes one window: encodes it, decodes it with fallback, and returns its segments with their times."""

import asyncio
import math
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Final

import structlog

from asr_service import metrics
from asr_service.audio import SAMPLE_RATE
from asr_service.audio.chunking import Chunk, first_window, join_chunks, rest_of
from asr_service.audio.features import FRAMES_PER_SECOND, FULL_CONTEXT, Features, LogMel
from asr_service.engine.decode.attempts import FALLBACK_REASONS, Attempt, Step, attempts
from asr_service.engine.decode.context import (
    LONGER_CONTEXT,
    ChunkLengths,
    allows_short_context,
    chunk_lengths,
    context_frames,
)
from asr_service.engine.decode.continuation import Budget, Decoded, Rest, settle
from asr_service.engine.decode.hypothesis import (
    Hypothesis,
    best_of,
    evaluate,
    speech_parts,
    split_kept,
    split_unfinished,
)
from asr_service.engine.decode.segments import TimedTokens
from asr_service.engine.decode.text_before import TextBefore
from asr_service.engine.decode.times import clamp_times, place_words
from asr_service.engine.decode.words import time_words
from asr_service.engine.model.calls import AlignCall, Call, EncodeCall, Encoded, GenerateCall
from asr_service.engine.model.prompt import Prompt, generate_options, max_output_tokens
from asr_service.engine.model.protocol import Alignment, Encoding, Generation
from asr_service.engine.model.vocabulary import Vocabulary
from asr_service.engine.options import DecodingOptions
from asr_service.engine.schedule.request import RequestContext
from asr_service.languages import written_language
from asr_service.stages import stage
from asr_service.tracing import span
from asr_service.transcript import Segment, Word

log = structlog.get_logger(__name__)

_ENGLISH: Final = "en"
"""The language of a model that is not multilingual."""
_DEFAULT_OPTIONS: Final = DecodingOptions()
_NO_TEXT: Final = TextBefore()
_WHOLE_BUDGET: Final = Budget()
_MAX_SKIPS: Final = 3
"""Maximum number of consecutive windows in which the model may leave speech out. After these, speech without text
counts as having no words."""
_NEW_CONTEXTS: Final = {Step.LONGER_CONTEXT: LONGER_CONTEXT, Step.FULL_CONTEXT: FULL_CONTEXT}


@dataclass(frozen=True, slots=True)
class WindowTask:
    """A window to decode, as `WindowDecoder.prepare` makes it."""

    request: RequestContext
    chunk: Chunk
    context_frames: int
    """How many frames the encoder gets at first."""
    features: Features
    """Features of the chunk, padded to `context_frames`."""
    language: str | None = None
    """Language of the window. None takes the language of the request, which the first window detects if need be."""
    is_first_window: bool = False
    """True if the request's first segments wait for this window."""
    after: Chunk | None = None
    """The speech of the section after this window. It is decoded next."""
    text_before: TextBefore | asyncio.Future[TextBefore] = _NO_TEXT
    """The text before this window, for the prompt."""
    budget: Budget = _WHOLE_BUDGET


class WindowDecoder:
    """Transcribes chunks of speech to segments. Each step is a call of the model, submitted to the scheduler."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        log_mel: LogMel,
        cpu_pool: Executor,
        *,
        multilingual: bool,
        margin_s: float | None,
        chunk_length_s: float | None,
        max_attempts: int | None = None,
    ) -> None:
        """Create a decoder for one model.

        `cpu_pool` runs the computation of features. `margin_s` is the length of the padding after the speech, from
        which the model sees that the speech has ended; None always pads to 30 s. `chunk_length_s` is the operator's
        limit for the speech in a window, if there is one. `max_attempts` limits the attempts
        for one window.
        """
        self._vocabulary = vocabulary
        self._log_mel = log_mel
        self._cpu_pool = cpu_pool
        self._multilingual = multilingual
        self._margin_s = margin_s
        self._chunk_length_s = chunk_length_s
        self._max_attempts = max_attempts or _WHOLE_BUDGET.decodes
        for reason in FALLBACK_REASONS:
            metrics.FALLBACKS.labels(reason)  # with the value 0: without a sample, a rate has no value

    def chunk_lengths(self, options: DecodingOptions) -> ChunkLengths:
        """Return how long the chunks of a request with these options may be."""
        return chunk_lengths(options, self._margin_s, self._chunk_length_s)

    async def prepare(
        self,
        request: RequestContext,
        chunk: Chunk,
        *,
        language: str | None = None,
        is_first_window: bool = False,
        text_before: TextBefore | asyncio.Future[TextBefore] = _NO_TEXT,
        budget: Budget = _WHOLE_BUDGET,
    ) -> WindowTask:
        """Choose the first window of a chunk and its context, and compute its features."""
        window, after = await self._first_window(chunk, request.options)
        n_frames = self._context_frames(window, request.options)
        features = await self._features(window, n_frames)
        return WindowTask(request, window, n_frames, features, language, is_first_window, after, text_before, budget)

    async def _first_window(self, chunk: Chunk, options: DecodingOptions) -> tuple[Chunk, Chunk | None]:
        max_window_s = self.chunk_lengths(options).multi_window_s
        if not chunk.is_part or chunk.duration_s <= max_window_s:
            return chunk, None
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._cpu_pool, first_window, chunk, int(max_window_s * SAMPLE_RATE))

    async def decode(self, task: WindowTask) -> AsyncGenerator[list[Segment]]:
        """Yield the segments of a window and of the section after it, each list as soon as it is final.

        The segments are in order, and their ids are not set. The window after this one begins where its text ends, and
        its prompt has the text before it. If the model stops before the end of the window, so does the window of the
        rest.

        Raises EngineStopped, DeadlineExceeded, InferenceFailed, Overloaded: the scheduler or the model failed.
        """
        held: list[Decoded] = []
        while True:
            decoded = await self._decode_once(task)
            final, held = settle([*held, decoded])
            yield final
            if decoded.rest is None:
                return
            task = await self._prepare_rest(task, decoded.rest)

    async def detect_language(
        self, request: RequestContext, chunk: Chunk, *, is_first_window: bool
    ) -> dict[str, float]:
        """Return the probabilities of the languages of a chunk by code, most likely first."""
        if not self._multilingual:
            return {_ENGLISH: 1.0}
        chunk, _ = await self._first_window(chunk, request.options)
        # Detection decodes no text, so it never needs a full context.
        n_frames = self._context_frames(chunk, _DEFAULT_OPTIONS)
        features = await self._features(chunk, n_frames)
        task = WindowTask(request, chunk, n_frames, features, is_first_window=is_first_window)
        encoded: Encoded = await _submit(task, EncodeCall(features, detect_language=True))
        return request.options.among_candidates(encoded.languages or {})

    def _context_frames(self, chunk: Chunk, options: DecodingOptions) -> int:
        margin_s = self._margin_s if allows_short_context(options) else None
        return context_frames(chunk.duration_s, margin_s, is_part=chunk.is_part)

    async def _prepare_rest(self, task: WindowTask, rest: Rest) -> WindowTask:
        return await self.prepare(
            task.request,
            rest.chunk,
            language=rest.language,
            is_first_window=task.is_first_window and rest.is_early,
            text_before=rest.text_before,
            budget=rest.budget,
        )

    async def _decode_once(self, task: WindowTask) -> Decoded:
        window_start_s = task.chunk.to_source_time(0)
        attributes = {"asr.window.begin_s": window_start_s, "asr.window.speech_s": task.chunk.duration_s}
        with span("window", attributes):
            detect = self._multilingual and task.is_first_window and task.language is None
            detect = detect and not task.request.language.done()
            encoded: Encoded = await _submit(task, EncodeCall(task.features, detect))
            language = task.language or await self._request_language(encoded, task.request)
            best, encoding, n_decodes = await self._decode_with_fallback(task, encoded.encoding, language)
            budget = task.budget.after_attempts(n_decodes)
            ended_early = best.ended_early and not best.is_silent
            continues = ended_early and budget.allows_continuation
            if ended_early and not continues:
                log.warning("a window was continued too often", window_start_s=window_start_s)
            parts = [] if best.is_silent else speech_parts(best, self._vocabulary, to_the_end=not continues)
            segments = await self._segments(task, encoding, best, parts, language)
        if continues:
            n_kept, rest_start_s = split_kept(parts, best)
            return await self._split_at_rest(task, segments, n_kept, rest_start_s, language, budget)
        if task.after is not None:
            n_kept, rest_start_s = split_unfinished(parts, best, self._vocabulary)
            return await self._split_at_rest(task, segments, n_kept, rest_start_s, language, None)
        return Decoded(segments)

    async def _request_language(self, encoded: Encoded, request: RequestContext) -> str:
        """Return the request's language. The first window sets it if the options do not."""
        if not self._multilingual:
            request.set_language(_ENGLISH, 1.0)
        elif encoded.languages:
            request.set_language(*next(iter(request.options.among_candidates(encoded.languages).items())))
        return (await asyncio.shield(request.language))[0]

    async def _decode_with_fallback(
        self, task: WindowTask, encoding: Encoding, language: str
    ) -> tuple[Hypothesis, Encoding, int]:
        """Make the attempts in their order, each only if it is needed.

        Return the best one, its encoding, and the number of attempts.
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
                encoding = (await _submit(task, EncodeCall(features, detect_language=False))).encoding
            tried.append(await self._attempt(task, encoding, prompt, attempt, self._vocabulary.text(before)))
            encodings.append(encoding)
        best = best_of(tried)
        return best, encodings[tried.index(best)], len(tried)

    async def _text_before(self, task: WindowTask, language: str) -> tuple[int, ...]:
        """Wait for the text before this window, and return its tokens if it is in the same language."""
        before = await _known(task.text_before)
        return before.tokens if before.language == language else ()

    async def _attempt(
        self, task: WindowTask, encoding: Encoding, prompt: Prompt, attempt: Attempt, text_before: str
    ) -> Hypothesis:
        options = generate_options(
            task.request.options, prompt, attempt.temperature, self._vocabulary.suppressed, attempt.repetition_penalty
        )
        generation: Generation = await _submit(task, GenerateCall(encoding, prompt, options))
        limit = max_output_tokens(options, prompt)
        return evaluate(
            generation,
            attempt.temperature,
            self._vocabulary,
            task.chunk.duration_s,
            limit,
            text_before,
            has_prompt=prompt.sot_index > 0,
            is_all_speech=task.chunk.is_part and task.request.options.vad_filter and _may_have_skipped(task),
        )

    async def _split_at_rest(
        self,
        task: WindowTask,
        segments: list[Segment],
        n_kept: int,
        rest_start_s: float,
        language: str,
        budget: Budget | None,
    ) -> Decoded:
        """Keep the first segments. The rest of the window and the speech after it are decoded next.

        `budget` is that of the window's rest, None if the model did not stop early.
        """
        end_s = task.chunk.to_source_time(rest_start_s, is_end=True)
        kept = [clamp_times(segment, end_s) for segment in segments[:n_kept]]
        parts = [rest_of(task.chunk, rest_start_s)] if rest_start_s < task.chunk.duration_s else []
        rest = Rest(
            join_chunks([*parts, task.after] if task.after else parts),
            language,
            (await _known(task.text_before)).followed_by(kept),
            budget.after_continuation() if budget else _WHOLE_BUDGET,
            is_early=budget is not None,
        )
        return Decoded(kept, segments[n_kept:], rest)

    async def _segments(
        self, task: WindowTask, encoding: Encoding, best: Hypothesis, parts: list[TimedTokens], language: str
    ) -> list[Segment]:
        options, chunk = task.request.options, task.chunk
        words: Sequence[tuple[Word, ...] | None] = [None] * len(parts)
        if options.word_timestamps:
            words = await self._words(task, encoding, parts, language)
        quiet_s = options.vad.speech_pad_ms / 1000 if options.vad_filter else 0.0
        times = [
            (own[0].start, own[-1].end) if own else chunk.to_source_span(part.start, part.end, quiet_s)
            for part, own in zip(parts, words, strict=True)
        ]
        return [
            Segment(
                id=0,
                start=start,
                end=end,
                text=self._vocabulary.text(part.tokens),
                tokens=part.tokens,
                avg_logprob=best.generation.avg_logprob,
                no_speech_prob=best.generation.no_speech_prob,
                compression_ratio=best.compression_ratio,
                temperature=best.temperature,
                language=language,
                words=own,
                window_start=chunk.to_source_time(0),
            )
            for part, own, (start, end) in zip(parts, words, times, strict=True)
        ]

    async def _words(
        self, task: WindowTask, encoding: Encoding, parts: list[TimedTokens], language: str
    ) -> list[tuple[Word, ...]]:
        task_name = task.request.options.task
        start_sequence = self._vocabulary.tokenizer_for(language, task_name).sot_sequence
        tokenizer = self._vocabulary.tokenizer_for(written_language(language, task_name), task_name)
        texts = [self._vocabulary.text_tokens(part.tokens) for part in parts]
        tokens = tuple(token for text in texts for token in text)
        if not tokens:
            return [() for _ in parts]
        n_frames = min(math.ceil(task.chunk.duration_s * FRAMES_PER_SECOND), FULL_CONTEXT)
        alignment: Alignment = await _submit(task, AlignCall(encoding, tuple(start_sequence), tokens, n_frames))
        spans = [(part.start, part.end) for part in parts]
        words_of_parts = time_words(alignment, texts, tokenizer, spans, task.chunk.samples)
        return [place_words(words, task.chunk) for words in words_of_parts]

    async def _features(self, chunk: Chunk, n_frames: int) -> Features:
        loop = asyncio.get_running_loop()
        with stage("features"):  # includes the wait for a thread
            return await loop.run_in_executor(self._cpu_pool, self._log_mel, chunk.samples, n_frames)


def _may_have_skipped(task: WindowTask) -> bool:
    return task.budget.n_continued < _MAX_SKIPS


async def _submit(task: WindowTask, call: Call) -> Any:
    return await task.request.submit(call, audio_s=task.chunk.duration_s, is_first_window=task.is_first_window)


async def _known(text: TextBefore | asyncio.Future[TextBefore]) -> TextBefore:
    return text if isinstance(text, TextBefore) else await asyncio.shield(text)
