"""One chunk through the model: encoded once, decoded until Whisper's rules are content, timed."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Any

from asr_service import metrics
from asr_service.audio.chunking import Chunk, rest_of
from asr_service.audio.features import FRAMES_PER_SECOND, FULL_CONTEXT, Features, LogMel
from asr_service.engine.batch import Job
from asr_service.engine.calls import STAGES, AlignCall, Call, EncodeCall, Encoded, GenerateCall
from asr_service.engine.decoding import (
    DecodingOptions,
    Prompt,
    Verdict,
    Vocabulary,
    compression_ratio,
    generate_options,
    judge,
)
from asr_service.engine.model import Alignment, Encoding, Generation
from asr_service.engine.scheduler import Scheduler
from asr_service.engine.segments import TimedTokens, WindowTokens, split_at_timestamps, unfinished
from asr_service.engine.words import time_words
from asr_service.stages import stage
from asr_service.tracing import note_span, span
from asr_service.transcript import Segment, Word

_FLOOR_S = 10.0
_STEP_FRAMES = 64
"""Contexts are whole steps: windows of like length share batches, and matrices whose side is a multiple of 32 are up to
a seventh faster. Coarser steps cost the encoder more, whose time grows with the square."""
_SHORTEST_REST_S = 1.0
"""Less than this, before or after the place where the model broke off, is not worth a window of its own."""
_PLAIN = DecodingOptions()


@dataclass(slots=True)
class RequestWork:
    """One request's dealings with the model: what its windows share, and what is counted about it."""

    owner: int
    options: DecodingOptions
    next_deadline: Callable[[], float]
    language: asyncio.Future[tuple[str, float]]
    """Resolved by the first window where the options do not name it."""
    leading: Chunk | None = None
    """The chunk that everything told of this request waits for."""
    queued_s: float = 0.0
    calls: list[tuple[float, float]] = field(default_factory=list)

    def note(self, job: Job) -> None:
        self.queued_s = max(self.queued_s, job.started_at - job.enqueued_at)
        self.calls.append((job.started_at, job.ended_at))

    @property
    def inference_s(self) -> float:
        """Seconds in which at least one call for this request was running."""
        total, until = 0.0, -math.inf
        for start, end in sorted(self.calls):
            total += max(end - max(start, until), 0.0)
            until = max(until, end)
        return total


@dataclass(frozen=True, slots=True)
class _Decoded:
    generation: Generation
    temperature: float
    ratio: float
    verdict: Verdict
    window: WindowTokens
    late: bool
    """The model wrote on after the speech had ended."""

    @property
    def doubtful(self) -> bool:
        return self.late or self.verdict.needs_fallback


class WindowDecoder:
    """Chunk -> segments, by way of the scheduler."""

    def __init__(
        self,
        scheduler: Scheduler,
        vocabulary: Vocabulary,
        log_mel: LogMel,
        helpers: Executor,
        *,
        multilingual: bool,
        margin_s: float | None,
    ) -> None:
        """`helpers` are the threads for work beside the model's.

        `margin_s` is the quiet after the speech that the decoder needs to see its end; None always gives it 30 s.
        """
        self._scheduler = scheduler
        self._helpers = helpers
        self._vocabulary = vocabulary
        self._log_mel = log_mel
        self._multilingual = multilingual
        self._margin_s = margin_s

    async def prepare(self, chunk: Chunk, options: DecodingOptions) -> Features:
        """A chunk's features, as long as its context: what `decode` begins with."""
        return await self._features(chunk, self._context(chunk, options))

    async def decode(
        self,
        chunk: Chunk,
        features: Features,
        work: RequestWork,
        *,
        first: bool,
        language: str | None = None,
        spoken: tuple[int, ...] = (),
    ) -> list[Segment]:
        """Segments of a chunk in the recording's time, their ids not yet given.

        Without a `language` it is the request's, which the first window's own sound tells where the options do not.
        Where the model breaks off before the end of the chunk, the rest gets a window of its own, which is told the
        text `spoken` before it.
        """
        begin_s = chunk.to_source_time(0)
        with span("window", {"asr.window.begin_s": begin_s, "asr.window.speech_s": chunk.duration_s}):
            return await self._decode(chunk, features, work, first=first, language=language, spoken=spoken)

    async def _decode(
        self,
        chunk: Chunk,
        features: Features,
        work: RequestWork,
        *,
        first: bool,
        language: str | None,
        spoken: tuple[int, ...],
    ) -> list[Segment]:
        options = work.options
        if first:
            work.leading = chunk
        detect = self._multilingual and first and options.language is None and language is None
        encoded: Encoded = await self._submit(EncodeCall(features, detect), chunk, work)
        if language is None:
            language = await self._language(encoded, work)
        decoded, encoding = await self._decode_well(chunk, work, encoded.encoding, language, spoken)
        if decoded.verdict is Verdict.SILENT:
            return []
        timed = self._timed_tokens(chunk, decoded)
        segments = await self._segments(chunk, work, encoding, decoded, timed, language)
        if self._broke_off(decoded, chunk):
            rest = rest_of(chunk, decoded.window.consumed_s)
            if chunk is work.leading:
                work.leading = rest
            said = spoken + tuple(token for part in timed for token in self._vocabulary.words_of(part.tokens))
            features = await self.prepare(rest, options)
            segments += await self.decode(rest, features, work, first=False, language=language, spoken=said)
        return segments

    async def languages(self, chunk: Chunk, work: RequestWork) -> dict[str, float]:
        """Probabilities by code of what is spoken in a chunk, most likely first."""
        if not self._multilingual:
            return {"en": 1.0}
        features = await self.prepare(chunk, _PLAIN)  # nothing is decoded that would need a full context
        encoded: Encoded = await self._submit(EncodeCall(features, detect_language=True), chunk, work)
        return encoded.languages or {}

    def _context(self, chunk: Chunk, options: DecodingOptions) -> int:
        """Frames for the encoder: the speech and a margin, where that costs no accuracy.

        The guards need timestamps; alignment and translation are worse for it.
        """
        guarded = options.timestamps and not options.word_timestamps and options.task == "transcribe"
        if self._margin_s is None or not guarded:
            return FULL_CONTEXT
        return context_frames(chunk.duration_s, self._margin_s)

    async def _language(self, encoded: Encoded, work: RequestWork) -> str:
        """The request's language, of the first window's own sound where the options do not name it."""
        if encoded.languages and not work.language.done():
            work.language.set_result(next(iter(encoded.languages.items())))
        return (await asyncio.shield(work.language))[0]

    async def _decode_well(
        self, chunk: Chunk, work: RequestWork, encoding: Encoding, language: str, spoken: tuple[int, ...]
    ) -> tuple[_Decoded, Encoding]:
        """Decode until the rules are content: at full context first, then hotter and hotter."""
        first, *hotter = work.options.temperatures
        prompt = self._vocabulary.prompt(work.options, language, spoken)
        decoded = await self._attempt(chunk, work, encoding, prompt, first)
        if decoded.doubtful and 2 * encoding.shape[0] < FULL_CONTEXT:
            metrics.FALLBACKS.labels("context").inc()
            features = await self._features(chunk, FULL_CONTEXT)
            encoding = (await self._submit(EncodeCall(features, detect_language=False), chunk, work)).encoding
            decoded = await self._attempt(chunk, work, encoding, prompt, first)
        tried = [decoded]
        while tried[-1].verdict.needs_fallback and hotter:
            metrics.FALLBACKS.labels(tried[-1].verdict).inc()
            tried.append(await self._attempt(chunk, work, encoding, prompt, hotter.pop(0)))
        return _best(tried), encoding

    async def _attempt(
        self, chunk: Chunk, work: RequestWork, encoding: Encoding, prompt: Prompt, temperature: float
    ) -> _Decoded:
        options = generate_options(work.options, prompt, temperature, self._vocabulary.suppressed)
        generation: Generation = await self._submit(GenerateCall(encoding, prompt, options), chunk, work)
        ratio = compression_ratio(self._vocabulary.text(generation.tokens))
        window = split_at_timestamps(generation.tokens, self._vocabulary.timestamp_begin, chunk.duration_s)
        late = any(segment.start >= chunk.duration_s for segment in window.segments)
        return _Decoded(generation, temperature, ratio, judge(generation, ratio), window, late)

    def _broke_off(self, decoded: _Decoded, chunk: Chunk) -> bool:
        return _SHORTEST_REST_S <= decoded.window.consumed_s < chunk.duration_s - _SHORTEST_REST_S

    def _timed_tokens(self, chunk: Chunk, decoded: _Decoded) -> list[TimedTokens]:
        """The segments that hold text and begin within the speech, the unfinished one too if it ends the chunk."""
        begin = self._vocabulary.timestamp_begin
        timed = [segment for segment in decoded.window.segments if segment.start < chunk.duration_s]
        if decoded.window.consumed_s < chunk.duration_s and not self._broke_off(decoded, chunk):
            timed.append(unfinished(decoded.generation.tokens, begin, decoded.window, chunk.duration_s))
        return [
            replace(segment, end=min(segment.end, chunk.duration_s))
            for segment in timed
            if segment.end > segment.start and self._vocabulary.text(segment.tokens).strip()
        ]

    async def _segments(
        self,
        chunk: Chunk,
        work: RequestWork,
        encoding: Encoding,
        decoded: _Decoded,
        timed: list[TimedTokens],
        language: str,
    ) -> list[Segment]:
        words: Sequence[tuple[Word, ...] | None] = [None] * len(timed)
        if work.options.word_timestamps:
            words = await self._words(chunk, work, encoding, timed, language)
        return [
            Segment(
                id=0,
                start=own[0].start if own else chunk.to_source_time(part.start),
                end=own[-1].end if own else chunk.to_source_time(part.end, is_end=True),
                text=self._vocabulary.text(part.tokens),
                tokens=part.tokens,
                avg_logprob=decoded.generation.avg_logprob,
                no_speech_prob=decoded.generation.no_speech_prob,
                compression_ratio=decoded.ratio,
                temperature=decoded.temperature,
                language=language,
                words=own,
                window_start=chunk.to_source_time(0),
            )
            for part, own in zip(timed, words, strict=True)
        ]

    async def _words(
        self, chunk: Chunk, work: RequestWork, encoding: Encoding, timed: list[TimedTokens], language: str
    ) -> list[tuple[Word, ...]]:
        speaker = self._vocabulary.speaker(language, work.options.task)
        parts = [self._vocabulary.words_of(part.tokens) for part in timed]
        tokens = tuple(token for part in parts for token in part)
        if not tokens:
            return [() for _ in timed]
        n_frames = min(math.ceil(chunk.duration_s * FRAMES_PER_SECOND), FULL_CONTEXT)
        call = AlignCall(encoding, tuple(speaker.sot_sequence), tokens, n_frames)
        alignment: Alignment = await self._submit(call, chunk, work)
        spans = [(part.start, part.end) for part in timed]
        return [_placed(words, chunk) for words in time_words(alignment, parts, speaker, spans)]

    async def _features(self, chunk: Chunk, n_frames: int) -> Features:
        loop = asyncio.get_running_loop()
        with stage("features"):  # the wait for a thread is part of it
            return await loop.run_in_executor(self._helpers, self._log_mel, chunk.samples, n_frames)

    async def _submit(self, call: Call, chunk: Chunk, work: RequestWork) -> Any:
        job = Job(
            stage=STAGES[type(call)],
            key=call.key,
            owner=work.owner,
            payload=call,
            audio_s=chunk.duration_s,
            n_frames=call.n_frames_padded,
            deadline=work.next_deadline(),
            enqueued_at=time.monotonic(),
            leads=chunk is work.leading,
        )
        answer = await asyncio.wrap_future(self._scheduler.submit(job))
        work.note(job)
        _trace(job)
        return answer


def _trace(job: Job) -> None:
    note_span("queue", job.enqueued_at, job.started_at)
    attributes = {"asr.batch_size": job.n_together, "asr.n_frames": job.n_frames}
    note_span(f"inference {job.stage}", job.started_at, job.ended_at, attributes)


def context_frames(speech_s: float, margin_s: float | None) -> int:
    """Frames that the encoder gets for so much speech; None always gives it 30 s."""
    if margin_s is None:
        return FULL_CONTEXT
    frames = max(speech_s + margin_s, _FLOOR_S) * FRAMES_PER_SECOND
    return min(math.ceil(frames / _STEP_FRAMES) * _STEP_FRAMES, FULL_CONTEXT)


def _best(tried: list[_Decoded]) -> _Decoded:
    """The last if the rules are content with it, else the likeliest of those that do not repeat themselves."""
    if not tried[-1].verdict.needs_fallback:
        return tried[-1]
    varied = [decoded for decoded in tried if decoded.verdict is not Verdict.REPETITIVE]
    return max(varied or tried, key=lambda decoded: decoded.generation.avg_logprob)


def _placed(words: tuple[Word, ...], chunk: Chunk) -> tuple[Word, ...]:
    return tuple(
        replace(word, start=chunk.to_source_time(word.start), end=chunk.to_source_time(word.end, is_end=True))
        for word in words
    )
