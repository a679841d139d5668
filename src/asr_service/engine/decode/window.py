"""One chunk through the model: encoded once, decoded until Whisper's rules are content, timed."""

import asyncio
import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace

from asr_service import metrics
from asr_service.audio.chunking import Chunk, rest_of
from asr_service.audio.features import FRAMES_PER_SECOND, FULL_CONTEXT, Features, LogMel
from asr_service.engine.decode.context import LONGEST_SHORT, ChunkLengths, chunk_lengths, context_frames, may_be_short
from asr_service.engine.decode.hypothesis import Hypothesis, best_of, judged, kept_of, spoken_parts
from asr_service.engine.decode.rules import Verdict
from asr_service.engine.decode.segments import TimedTokens
from asr_service.engine.decode.words import time_words
from asr_service.engine.model.calls import AlignCall, EncodeCall, Encoded, GenerateCall
from asr_service.engine.model.prompt import Prompt, generate_options, max_output_tokens
from asr_service.engine.model.protocol import Alignment, Encoding, Generation
from asr_service.engine.model.vocabulary import Vocabulary
from asr_service.engine.options import DecodingOptions
from asr_service.engine.schedule.request import RequestContext
from asr_service.languages import written_language
from asr_service.stages import stage
from asr_service.tracing import span
from asr_service.transcript import Segment, Word

_ENGLISH = "en"
"""What a model that is not multilingual hears."""
_PLAIN = DecodingOptions()
_AGAINST_LOOPS = 1.2
"""A repetition penalty that ends loops which sampling ends only when it is so hot that it mishears. What is truly said
again and again suffers from it, so it is tried on nothing else."""


class WindowDecoder:
    """Chunk -> segments, each step a call of the model that the request asks for."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        log_mel: LogMel,
        cpu_pool: Executor,
        *,
        multilingual: bool,
        margin_s: float | None,
        chunk_length_s: float | None,
    ) -> None:
        """`cpu_pool` are the threads for work beside the model's.

        `margin_s` is the quiet after the speech that the decoder needs to see its end; None always gives it 30 s.
        `chunk_length_s` is the most speech in a window, where the operator has set it.
        """
        self._vocabulary = vocabulary
        self._log_mel = log_mel
        self._cpu_pool = cpu_pool
        self._multilingual = multilingual
        self._margin_s = margin_s
        self._chunk_length_s = chunk_length_s

    def chunk_lengths(self, options: DecodingOptions) -> ChunkLengths:
        """How the speech of a request with these options is to be cut."""
        return chunk_lengths(options, self._margin_s, self._chunk_length_s)

    async def prepare(self, chunk: Chunk, options: DecodingOptions) -> Features:
        """A chunk's features, as long as its context: what `decode` begins with."""
        margin_s = self._margin_s if may_be_short(options) else None
        return await self._features(chunk, context_frames(chunk.duration_s, margin_s))

    async def decode(
        self,
        chunk: Chunk,
        features: Features,
        work: RequestContext,
        *,
        first: bool,
        language: str | None = None,
        spoken: tuple[int, ...] = (),
        tell: Callable[[list[Segment]], None] | None = None,
    ) -> list[Segment]:
        """Segments of a chunk in the recording's time, their ids not yet given.

        Those that stand while a rest is still to be decoded are given to `tell` at once, where there is one, and not
        returned again.

        Without a `language` it is the request's, which the first window's own sound tells where the options do not.
        Where the model breaks off before the end of the chunk, the rest gets a window of its own, which is told the
        text `spoken` before it.
        """
        begin_s = chunk.to_source_time(0)
        with span("window", {"asr.window.begin_s": begin_s, "asr.window.speech_s": chunk.duration_s}):
            return await self._decode(chunk, features, work, first=first, language=language, spoken=spoken, tell=tell)

    async def languages(self, chunk: Chunk, work: RequestContext) -> dict[str, float]:
        """Probabilities by code of what is spoken in a chunk, most likely first."""
        if not self._multilingual:
            return {_ENGLISH: 1.0}
        work.leading = work.leading or chunk
        features = await self.prepare(chunk, _PLAIN)  # nothing is decoded that would need a full context
        encoded: Encoded = await work.submit(EncodeCall(features, detect_language=True), chunk)
        return encoded.languages or {}

    async def _decode(
        self,
        chunk: Chunk,
        features: Features,
        work: RequestContext,
        *,
        first: bool,
        language: str | None,
        spoken: tuple[int, ...],
        tell: Callable[[list[Segment]], None] | None,
    ) -> list[Segment]:
        if first:
            work.leading = chunk
        detect = self._multilingual and first and language is None and not work.language.done()
        encoded: Encoded = await work.submit(EncodeCall(features, detect), chunk)
        if language is None:
            language = await self._language(encoded, work)
        best, encoding = await self._decode_well(chunk, work, encoded.encoding, language, spoken)
        if best.verdict is Verdict.SILENT:
            return []
        parts = spoken_parts(best, self._vocabulary)
        segments = await self._segments(chunk, work, encoding, best, parts, language)
        if not best.broke_off:
            return segments
        n_kept, rest_s = kept_of(parts, best)
        until = chunk.to_source_time(rest_s, is_end=True)
        standing, doubtful = [_ended_by(segment, until) for segment in segments[:n_kept]], segments[n_kept:]
        if tell is not None:
            tell(standing)
            standing = []
        said = spoken + tuple(token for part in parts[:n_kept] for token in self._vocabulary.text_tokens(part.tokens))
        rest = await self._decode_rest(chunk, rest_s, work, language, said)
        if doubtful and (not rest or rest[-1].end < doubtful[-1].end):
            return standing + doubtful  # heard again, it says less than before
        return standing + rest

    async def _decode_rest(
        self, chunk: Chunk, from_s: float, work: RequestContext, language: str, said: tuple[int, ...]
    ) -> list[Segment]:
        rest = rest_of(chunk, from_s)
        if chunk is work.leading:
            work.leading = rest
        features = await self.prepare(rest, work.options)
        return await self.decode(rest, features, work, first=False, language=language, spoken=said)

    async def _language(self, encoded: Encoded, work: RequestContext) -> str:
        """The request's language, of the first window's own sound where the options do not name it."""
        if not self._multilingual:
            work.set_language(_ENGLISH, 1.0)
        elif encoded.languages:
            work.set_language(*next(iter(encoded.languages.items())))
        return (await asyncio.shield(work.language))[0]

    async def _decode_well(
        self, chunk: Chunk, work: RequestContext, encoding: Encoding, language: str, spoken: tuple[int, ...]
    ) -> tuple[Hypothesis, Encoding]:
        """Decode until the rules are content: at full context first, out of a loop next, then hotter and hotter."""
        first, *hotter = work.options.temperatures
        prompt = self._vocabulary.prompt(work.options, language, spoken)
        attempt = await self._attempt(chunk, work, encoding, prompt, first)
        tried = [attempt]
        if attempt.is_doubtful and 2 * encoding.shape[0] < LONGEST_SHORT:
            metrics.FALLBACKS.labels("full_context").inc()
            features = await self._features(chunk, FULL_CONTEXT)
            encoding = (await work.submit(EncodeCall(features, detect_language=False), chunk)).encoding
            attempt = await self._attempt(chunk, work, encoding, prompt, first)
            tried.append(attempt)
        if attempt.is_loop and hotter:
            metrics.FALLBACKS.labels("repetition_penalty").inc()
            tried.append(await self._attempt(chunk, work, encoding, prompt, first, _AGAINST_LOOPS))
        while hotter and (fault := tried[-1].fault):
            metrics.FALLBACKS.labels(fault).inc()
            tried.append(await self._attempt(chunk, work, encoding, prompt, hotter.pop(0)))
        return best_of(tried), encoding

    async def _attempt(
        self,
        chunk: Chunk,
        work: RequestContext,
        encoding: Encoding,
        prompt: Prompt,
        temperature: float,
        repetition_penalty: float = 1.0,
    ) -> Hypothesis:
        options = generate_options(work.options, prompt, temperature, self._vocabulary.suppressed, repetition_penalty)
        generation: Generation = await work.submit(GenerateCall(encoding, prompt, options), chunk)
        return judged(generation, temperature, self._vocabulary, chunk.duration_s, max_output_tokens(options, prompt))

    async def _segments(
        self,
        chunk: Chunk,
        work: RequestContext,
        encoding: Encoding,
        best: Hypothesis,
        parts: list[TimedTokens],
        language: str,
    ) -> list[Segment]:
        words: Sequence[tuple[Word, ...] | None] = [None] * len(parts)
        if work.options.word_timestamps:
            words = await self._words(chunk, work, encoding, parts, language)
        quiet_s = work.options.vad.speech_pad_ms / 1000 if work.options.vad_filter else 0.0
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
        self, chunk: Chunk, work: RequestContext, encoding: Encoding, parts: list[TimedTokens], language: str
    ) -> list[tuple[Word, ...]]:
        task = work.options.task
        speaker = self._vocabulary.tokenizer_for(language, task)
        written = self._vocabulary.tokenizer_for(written_language(language, task), task)
        texts = [self._vocabulary.text_tokens(part.tokens) for part in parts]
        tokens = tuple(token for text in texts for token in text)
        if not tokens:
            return [() for _ in parts]
        n_frames = min(math.ceil(chunk.duration_s * FRAMES_PER_SECOND), FULL_CONTEXT)
        call = AlignCall(encoding, tuple(speaker.sot_sequence), tokens, n_frames)
        alignment: Alignment = await work.submit(call, chunk)
        spans = [(part.start, part.end) for part in parts]
        return [_placed(words, chunk) for words in time_words(alignment, texts, written, spans)]

    async def _features(self, chunk: Chunk, n_frames: int) -> Features:
        loop = asyncio.get_running_loop()
        with stage("features"):  # the wait for a thread is part of it
            return await loop.run_in_executor(self._cpu_pool, self._log_mel, chunk.samples, n_frames)


def _placed(words: tuple[Word, ...], chunk: Chunk) -> tuple[Word, ...]:
    times = (chunk.word_to_source(word.start, word.end) for word in words)
    return tuple(replace(word, start=start, end=end) for word, (start, end) in zip(words, times, strict=True))


def _ended_by(segment: Segment, until: float) -> Segment:
    """With none of its words in what is heard again: they were timed with the sound of the whole window."""
    words = segment.words and tuple(
        replace(word, start=min(word.start, until), end=min(word.end, until)) for word in segment.words
    )
    return replace(segment, start=min(segment.start, until), end=min(segment.end, until), words=words)
