"""Decodes one window: encodes it, decodes it with fallback, and returns its segments with their times."""

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import Executor
from typing import Final

import structlog

from asr_service.audio import SAMPLE_RATE
from asr_service.audio.chunking import Chunk, first_window, join_chunks, rest_of
from asr_service.audio.features import Features, LogMel
from asr_service.engine.decode.context import ChunkLengths, allows_short_context, chunk_lengths, context_frames
from asr_service.engine.decode.continuation import Budget, Rest
from asr_service.engine.decode.fallback import FallbackDecoder
from asr_service.engine.decode.hypothesis import speech_parts
from asr_service.engine.decode.text_before import TextBefore
from asr_service.engine.decode.timing.timed_segments import timed_segments
from asr_service.engine.decode.timing.times import clamp_times
from asr_service.engine.decode.window_task import NO_TEXT, WHOLE_BUDGET, WindowTask
from asr_service.engine.model.calls import EncodeCall, Encoded
from asr_service.engine.model.vocabulary import Vocabulary
from asr_service.engine.options import DecodingOptions
from asr_service.engine.schedule.request import RequestHandle
from asr_service.stages import stage
from asr_service.tracing import span
from asr_service.transcript import Segment

log = structlog.get_logger(__name__)

_ENGLISH: Final = "en"
"""The language of a model that is not multilingual."""
_DEFAULT_OPTIONS: Final = DecodingOptions()


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
        limit for the speech in a window, if there is one. `max_attempts` limits the attempts for one window.
        """
        self._vocabulary = vocabulary
        self._log_mel = log_mel
        self._cpu_pool = cpu_pool
        self._multilingual = multilingual
        self._margin_s = margin_s
        self._chunk_length_s = chunk_length_s
        self._fallback = FallbackDecoder(vocabulary, self._features, max_attempts or WHOLE_BUDGET.decodes)

    def chunk_lengths(self, options: DecodingOptions) -> ChunkLengths:
        """Return how long the chunks of a request with these options may be."""
        return chunk_lengths(options, self._margin_s, self._chunk_length_s)

    async def prepare(
        self,
        request: RequestHandle,
        chunk: Chunk,
        *,
        language: str | None = None,
        is_first_window: bool = False,
        text_before: TextBefore | asyncio.Future[TextBefore] = NO_TEXT,
        budget: Budget = WHOLE_BUDGET,
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

        The segments are in order, and their ids are not set. The next window begins where the model stopped, and its
        prompt has the text before it.

        Raises EngineStopped, DeadlineExceeded, InferenceFailed, Overloaded: the scheduler or the model failed.
        """
        while True:
            segments, rest = await self._decode_once(task)
            yield segments
            if rest is None:
                return
            task = await self.prepare(
                task.request,
                rest.chunk,
                language=rest.language,
                is_first_window=task.is_first_window and not segments,
                text_before=rest.text_before,
                budget=rest.budget,
            )

    async def detect_language(self, request: RequestHandle, chunk: Chunk, *, is_first_window: bool) -> dict[str, float]:
        """Return the probabilities of the languages of a chunk by code, most likely first."""
        if not self._multilingual:
            return {_ENGLISH: 1.0}
        chunk, _ = await self._first_window(chunk, request.options)
        # Detection decodes no text, so it never needs a full context.
        n_frames = self._context_frames(chunk, _DEFAULT_OPTIONS)
        features = await self._features(chunk, n_frames)
        task = WindowTask(request, chunk, n_frames, features, is_first_window=is_first_window)
        encoded: Encoded = await task.submit(EncodeCall(features, detect_language=True))
        return request.options.among_candidates(encoded.languages or {})

    def _context_frames(self, chunk: Chunk, options: DecodingOptions) -> int:
        margin_s = self._margin_s if allows_short_context(options) else None
        return context_frames(chunk.duration_s, margin_s, is_part=chunk.is_part)

    async def _decode_once(self, task: WindowTask) -> tuple[list[Segment], Rest | None]:
        window_start_s = task.chunk.to_source_time(0)
        attributes = {"asr.window.begin_s": window_start_s, "asr.window.speech_s": task.chunk.duration_s}
        with span("window", attributes):
            detect = self._multilingual and task.is_first_window and task.language is None
            detect = detect and not task.request.language.done()
            encoded: Encoded = await task.submit(EncodeCall(task.features, detect))
            language = task.language or await self._request_language(encoded, task.request)
            best, encoding, n_decodes = await self._fallback.decode(task, encoded.encoding, language)
            budget = task.budget.after_attempts(n_decodes)
            decoded_s = best.decoded_s(has_speech_after=task.after is not None)
            if decoded_s < best.speech_s and not budget.allows_continuation:
                log.warning("a window was continued too often", window_start_s=window_start_s)
                decoded_s = best.speech_s
            parts = speech_parts(best, self._vocabulary, decoded_s)
            segments = await timed_segments(task, encoding, best, parts, language, self._vocabulary)
        rest = [rest_of(task.chunk, decoded_s)] if decoded_s < best.speech_s else []
        if task.after is not None:
            rest.append(task.after)
        if not rest:
            return segments, None
        end_s = task.chunk.to_source_time(decoded_s, is_end=True)
        segments = [clamp_times(segment, end_s) for segment in segments]
        text_before = (await task.known_text_before()).followed_by(segments)
        return segments, Rest(join_chunks(rest), language, text_before, budget.after_window(decoded_s))

    async def _request_language(self, encoded: Encoded, request: RequestHandle) -> str:
        """Return the request's language. The first window sets it if the options do not."""
        if not self._multilingual:
            request.set_language(_ENGLISH, 1.0)
        elif encoded.languages:
            request.set_language(*next(iter(request.options.among_candidates(encoded.languages).items())))
        return (await asyncio.shield(request.language))[0]

    async def _features(self, chunk: Chunk, n_frames: int) -> Features:
        loop = asyncio.get_running_loop()
        with stage("features"):  # includes the wait for a thread
            return await loop.run_in_executor(self._cpu_pool, self._log_mel, chunk.samples, n_frames)
