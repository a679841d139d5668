"""Decodes one window: encodes it, decodes it with fallback, and returns its segments with their times."""

import asyncio
import math
from collections.abc import AsyncGenerator, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Any, Final

import structlog

from asr_service import metrics
from asr_service.audio.chunking import Chunk, rest_of
from asr_service.audio.features import FRAMES_PER_SECOND, FULL_CONTEXT, Features, LogMel
from asr_service.engine.decode.attempts import FALLBACK_REASONS, Attempt, Step, attempts
from asr_service.engine.decode.context import (
    LONGER_CONTEXT,
    ChunkLengths,
    allows_short_context,
    chunk_lengths,
    context_frames,
)
from asr_service.engine.decode.hypothesis import Hypothesis, best_of, evaluate, speech_parts, split_kept
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
_NEW_CONTEXTS: Final = {Step.LONGER_CONTEXT: LONGER_CONTEXT, Step.FULL_CONTEXT: FULL_CONTEXT}
_MAX_CONTINUATIONS: Final = 15
"""Maximum number of further windows for the rest of one chunk. On real speech each of these windows covers several
seconds; the limit bounds the work for audio that makes the model stop after every few tenths of a second."""
_MAX_DECODES: Final = 32
"""How many attempts all windows of one chunk may have together: four windows with all eight attempts. When they are
used up, the chunk gets no further windows."""


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
    previous_tokens: tuple[int, ...] = ()
    """Text tokens of the same chunk before this window, for the prompt."""
    decodes_left: int = _MAX_DECODES
    """Maximum number of attempts for this window and the windows of its rest together."""
    text_before: asyncio.Future[TextBefore] | None = None
    """The text of the windows before this one, if it is part of the prompt."""


@dataclass(frozen=True, slots=True)
class _Rest:
    """The part of a chunk that the model did not transcribe, and the inputs of the window for it."""

    start_s: float
    language: str
    previous_tokens: tuple[int, ...]
    decodes_left: int


@dataclass(frozen=True, slots=True)
class _Decoded:
    """The result of one window."""

    kept: list[Segment]
    doubtful: list[Segment] = field(default_factory=list)
    """Segments that the window of the rest includes once more, and normally replaces."""
    rest: _Rest | None = None


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
        self._max_attempts = max_attempts or _MAX_DECODES
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
        previous_tokens: tuple[int, ...] = (),
        decodes_left: int = _MAX_DECODES,
        text_before: asyncio.Future[TextBefore] | None = None,
    ) -> WindowTask:
        """Choose the context of a chunk and compute its features."""
        n_frames = self._context_frames(chunk, request.options)
        features = await self._features(chunk, n_frames)
        return WindowTask(
            request, chunk, n_frames, features, language, is_first_window, previous_tokens, decodes_left, text_before
        )

    async def decode(self, task: WindowTask) -> AsyncGenerator[list[Segment]]:
        """Yield the segments of a window in order, each list as soon as it is final. Their ids are not set.

        If the model stops before the end of the chunk, the rest gets a window of its own, whose prompt has the text
        before it.

        Raises EngineStopped, DeadlineExceeded, InferenceFailed, Overloaded: the scheduler or the model failed.
        """
        held: list[_Decoded] = []
        for number in range(_MAX_CONTINUATIONS + 1):
            decoded = await self._decode_once(task, may_continue=number < _MAX_CONTINUATIONS)
            if not held:
                yield decoded.kept
                decoded = replace(decoded, kept=[])
            if held or decoded.doubtful:
                held.append(decoded)
            if decoded.rest is None:
                break
            task = await self._prepare_rest(task, decoded.rest)
        if held:
            yield _resolve(held)

    async def detect_language(
        self, request: RequestContext, chunk: Chunk, *, is_first_window: bool
    ) -> dict[str, float]:
        """Return the probabilities of the languages of a chunk by code, most likely first."""
        if not self._multilingual:
            return {_ENGLISH: 1.0}
        # Detection decodes no text, so it never needs a full context.
        n_frames = self._context_frames(chunk, _DEFAULT_OPTIONS)
        features = await self._features(chunk, n_frames)
        task = WindowTask(request, chunk, n_frames, features, is_first_window=is_first_window)
        encoded: Encoded = await _submit(task, EncodeCall(features, detect_language=True))
        return request.options.among_candidates(encoded.languages or {})

    def _context_frames(self, chunk: Chunk, options: DecodingOptions) -> int:
        margin_s = self._margin_s if allows_short_context(options) else None
        return context_frames(chunk.duration_s, margin_s, is_part=chunk.is_part)

    async def _prepare_rest(self, task: WindowTask, rest: _Rest) -> WindowTask:
        return await self.prepare(
            task.request,
            rest_of(task.chunk, rest.start_s),
            language=rest.language,
            is_first_window=task.is_first_window,
            previous_tokens=rest.previous_tokens,
            decodes_left=rest.decodes_left,
            text_before=task.text_before,
        )

    async def _decode_once(self, task: WindowTask, *, may_continue: bool) -> _Decoded:
        window_start_s = task.chunk.to_source_time(0)
        attributes = {"asr.window.begin_s": window_start_s, "asr.window.speech_s": task.chunk.duration_s}
        with span("window", attributes):
            detect = self._multilingual and task.is_first_window and task.language is None
            detect = detect and not task.request.language.done()
            encoded: Encoded = await _submit(task, EncodeCall(task.features, detect))
            language = task.language or await self._request_language(encoded, task.request)
            best, encoding, n_decodes = await self._decode_with_fallback(task, encoded.encoding, language)
            decodes_left = task.decodes_left - n_decodes
            may_continue = may_continue and decodes_left > 0
            if best.is_silent:
                return _Decoded([])
            if best.ended_early and not may_continue:
                log.warning("a window was continued too often", window_start_s=window_start_s)
            continues = best.ended_early and may_continue
            parts = speech_parts(best, self._vocabulary, to_the_end=not continues)
            segments = await self._segments(task, encoding, best, parts, language)
        if not continues:
            return _Decoded(segments)
        return self._split_at_rest(task, best, parts, segments, language, decodes_left)

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
        prompt = self._vocabulary.prompt(options, language, (*before, *task.previous_tokens))
        tried: list[Hypothesis] = []
        encodings: list[Encoding] = []
        for attempt in attempts(options, task.context_frames, has_text_before=bool(before)):
            if tried:
                reason = attempt.reason(tried)
                if reason is None:
                    continue
                if len(tried) == min(task.decodes_left, self._max_attempts):
                    break
                metrics.FALLBACKS.labels(reason).inc()
                prompt, before = self._vocabulary.prompt(options, language, task.previous_tokens), []
            if n_frames := _NEW_CONTEXTS.get(attempt.step):
                features = await self._features(task.chunk, n_frames)
                encoding = (await _submit(task, EncodeCall(features, detect_language=False))).encoding
            tried.append(await self._attempt(task, encoding, prompt, attempt, self._vocabulary.text(before)))
            encodings.append(encoding)
        best = best_of(tried)
        return best, encodings[tried.index(best)], len(tried)

    async def _text_before(self, task: WindowTask, language: str) -> list[int]:
        """Wait for the text of the windows before this one, and return its tokens if it is in the same language."""
        if task.text_before is None:
            return []
        before = await asyncio.shield(task.text_before)
        return self._vocabulary.text_tokens(before.tokens) if before.language == language else []

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
        )

    def _split_at_rest(
        self,
        task: WindowTask,
        best: Hypothesis,
        parts: list[TimedTokens],
        segments: list[Segment],
        language: str,
        decodes_left: int,
    ) -> _Decoded:
        n_kept, rest_start_s = split_kept(parts, best)
        end_s = task.chunk.to_source_time(rest_start_s, is_end=True)
        kept = [clamp_times(segment, end_s) for segment in segments[:n_kept]]
        tokens = (token for part in parts[:n_kept] for token in self._vocabulary.text_tokens(part.tokens))
        rest = _Rest(rest_start_s, language, (*task.previous_tokens, *tokens), decodes_left)
        return _Decoded(kept, segments[n_kept:], rest)

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


async def _submit(task: WindowTask, call: Call) -> Any:
    return await task.request.submit(call, audio_s=task.chunk.duration_s, is_first_window=task.is_first_window)


def _resolve(decoded: Iterable[_Decoded]) -> list[Segment]:
    """Join the results of windows, of which each is followed by the window of its rest.

    The rest replaces the doubtful segments before it, unless it has less text: it is empty or ends before they do.
    """
    segments: list[Segment] = []
    for each in reversed(list(decoded)):
        if each.doubtful and (not segments or segments[-1].end < each.doubtful[-1].end):
            segments = each.doubtful
        segments = each.kept + segments
    return segments
