"""Conducts one request: an open file in, segments as they are known, a transcript at the end.

Memory is bounded by the block, not by the recording: blocks are decoded as they are needed, and no more than a
few windows of a request are with the model at a time.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import BinaryIO

import numpy as np
import structlog
from numpy.typing import NDArray

from asr_service import metrics
from asr_service.audio.chunking import BlockPlan, Chunk, cut_chunk, plan_block
from asr_service.audio.ingest import DecodedAudio, DecoderPool
from asr_service.audio.vad import SAMPLE_RATE, SpeechSpan, detect_speech
from asr_service.engine.decoding import DecodingOptions
from asr_service.engine.languages import LANGUAGES, UNSPACED_LANGUAGES
from asr_service.engine.mixed import by_language
from asr_service.engine.scheduler import Scheduler
from asr_service.engine.windows import RequestWork, WindowDecoder
from asr_service.stages import stage
from asr_service.transcript import Detection, Segment, Timing, Transcript

log = structlog.get_logger(__name__)

_FIRST_BLOCK_S = 60.0
"""A short first block lets the first segments leave early; each block after it is twice as long."""
_WITHOUT_VAD_SETTLED_S = 0.5


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of one request is worked on at a time."""

    block_length_s: float
    chunk_length_s: float
    windows_ahead: int
    """Windows of a request that may be with the model, or done and not yet taken."""
    request_timeout_s: float


@dataclass(slots=True)
class _Progress:
    """What is known of a request so far."""

    started_at: float
    on_audio: Callable[[float], None]
    duration_s: float = 0.0
    speech_s: float = 0.0
    vad_s: float = 0.0
    segments: list[Segment] = field(default_factory=list)


class Transcriber:
    """One slot's way from files to transcripts. Any number of requests at once, on one event loop."""

    def __init__(
        self,
        decoders: DecoderPool,
        windows: WindowDecoder,
        scheduler: Scheduler,
        helpers: Executor,
        limits: Limits,
        model_name: str,
    ) -> None:
        """`helpers` are the threads for work beside the model's."""
        self._decoders = decoders
        self._helpers = helpers
        self._windows = windows
        self._scheduler = scheduler
        self._limits = limits
        self._model_name = model_name
        self._owners = itertools.count()

    async def transcribe(
        self,
        file: BinaryIO,
        options: DecodingOptions,
        *,
        deadline: float | None = None,
        on_audio: Callable[[float], None] = lambda _: None,
    ) -> AsyncGenerator[Segment | Transcript]:
        """Yield each Segment as soon as it and all before it are known, then the Transcript.

        `file` is open and seekable. `deadline` is monotonic seconds; without it each window has the request time-out
        anew. `on_audio` is told the seconds of each block as it is decoded. Closing the generator drops what is left to
        do. Raises RequestError, Unavailable, DeadlineExceeded, InferenceFailed.
        """
        work = self._begin(options, deadline)
        progress = _Progress(time.monotonic(), on_audio)
        try:
            async with self._decoders.decode(file) as audio:
                async with aclosing(self._segments(audio, work, progress)) as segments:
                    async for segment in segments:
                        numbered = replace(segment, id=len(progress.segments), text=_spaced(segment))
                        progress.segments.append(numbered)
                        yield numbered
                yield self._conclude(audio, work, progress)
        finally:
            self._scheduler.forget(work.owner)

    async def detect_language(
        self,
        file: BinaryIO,
        options: DecodingOptions,
        *,
        deadline: float,
        on_audio: Callable[[float], None] = lambda _: None,
    ) -> Detection:
        """Tell the language by the first window that holds speech; nothing after it is decoded.

        The arguments and what is raised are those of `transcribe`.
        """
        work = self._begin(options, deadline)
        progress = _Progress(time.monotonic(), on_audio)
        try:
            async with (
                self._decoders.decode(file) as audio,
                aclosing(self._chunks(audio, options, progress)) as chunks,
            ):
                async for chunk in chunks:
                    probabilities = await self._windows.languages(chunk, work)
                    end = chunk.to_source_time(chunk.duration_s, is_end=True)
                    return Detection(tuple(probabilities.items()), chunk.to_source_time(0), end)
            return Detection(())
        finally:
            self._scheduler.forget(work.owner)

    def _begin(self, options: DecodingOptions, deadline: float | None) -> RequestWork:
        next_deadline: Callable[[], float] = (
            (lambda: deadline) if deadline is not None else lambda: time.monotonic() + self._limits.request_timeout_s
        )
        language: asyncio.Future[tuple[str, float]] = asyncio.get_running_loop().create_future()
        if options.language is not None:
            language.set_result((options.language, 1.0))
        return RequestWork(next(self._owners), options, next_deadline, language)

    async def _segments(self, audio: DecodedAudio, work: RequestWork, progress: _Progress) -> AsyncGenerator[Segment]:
        """Segments in order, while later windows are already under way."""
        room = asyncio.Semaphore(self._limits.windows_ahead)
        under_way: asyncio.Queue[asyncio.Task[list[Segment]] | None] = asyncio.Queue()
        feeder = asyncio.create_task(self._feed(audio, work, progress, room, under_way))
        tasks: list[asyncio.Task[list[Segment]]] = []
        try:
            while (task := await under_way.get()) is not None:
                tasks.append(task)
                for segment in await task:
                    yield segment
                tasks.clear()
                room.release()
            await feeder
        finally:
            while not under_way.empty():
                tasks += [task for task in [under_way.get_nowait()] if task is not None]
            await _cancel([feeder, *tasks])

    async def _feed(
        self,
        audio: DecodedAudio,
        work: RequestWork,
        progress: _Progress,
        room: asyncio.Semaphore,
        under_way: "asyncio.Queue[asyncio.Task[list[Segment]] | None]",
    ) -> None:
        first = True
        try:
            async for chunk, language in self._parts(audio, work, progress):
                await room.acquire()
                # One after the other, so that the first window is also the first with the model.
                features = await self._windows.prepare(chunk, work.options)
                decoding = self._windows.decode(chunk, features, work, first=first, language=language)
                under_way.put_nowait(asyncio.create_task(decoding))
                first = False
        finally:
            under_way.put_nowait(None)

    async def _parts(
        self, audio: DecodedAudio, work: RequestWork, progress: _Progress
    ) -> AsyncIterator[tuple[Chunk, str | None]]:
        """The recording's chunks; where the language may change, cut where it does, each with its own."""
        async for chunk in self._chunks(audio, work.options, progress):
            if not work.options.language_per_chunk:
                yield chunk, None
                continue
            for part in await by_language(chunk, lambda stretch: self._windows.languages(stretch, work)):
                if not work.language.done():
                    work.language.set_result((part.language, part.probability))
                yield part.chunk, part.language

    async def _chunks(
        self, audio: DecodedAudio, options: DecodingOptions, progress: _Progress
    ) -> AsyncGenerator[Chunk]:
        """The recording's speech in chunks, block by block."""
        carried = np.empty(0, np.float32)
        start, final, length_s = 0, False, min(_FIRST_BLOCK_S, self._limits.block_length_s)
        while not final:
            wanted = max(int(length_s * SAMPLE_RATE) - len(carried), SAMPLE_RATE)
            with stage("decode"):
                fresh = await audio.read(wanted)
            final = len(fresh) < wanted
            progress.on_audio(len(fresh) / SAMPLE_RATE)
            block = np.concatenate([carried, fresh]) if len(carried) else fresh
            began = time.monotonic()
            with stage("vad"):  # the wait for a thread is part of it
                plan = await asyncio.get_running_loop().run_in_executor(
                    self._helpers, self._plan, block, options, final
                )
            progress.vad_s += time.monotonic() - began
            for spans in plan.chunks:
                chunk = cut_chunk(block, spans, start)
                progress.speech_s += chunk.duration_s
                yield chunk
            carried = block[plan.cut :].copy()
            start += plan.cut
            length_s = min(2 * length_s, self._limits.block_length_s)
        progress.duration_s = audio.n_samples / SAMPLE_RATE

    def _plan(self, block: NDArray[np.float32], options: DecodingOptions, final: bool) -> BlockPlan:
        everything = [SpeechSpan(0, len(block))] if len(block) else []
        spans = detect_speech(block, options.vad) if options.vad_filter else everything
        settled_after = options.vad.settled_after if options.vad_filter else int(_WITHOUT_VAD_SETTLED_S * SAMPLE_RATE)
        return plan_block(
            block,
            spans,
            max_chunk=int(self._limits.chunk_length_s * SAMPLE_RATE),
            settled_after=settled_after,
            final=final,
        )

    def _conclude(self, audio: DecodedAudio, work: RequestWork, progress: _Progress) -> Transcript:
        total_s = time.monotonic() - progress.started_at
        realtime_factor = total_s / progress.duration_s if progress.duration_s else 0.0
        metrics.AUDIO_SECONDS.inc(progress.duration_s)
        if progress.duration_s:
            metrics.REALTIME_FACTOR.observe(realtime_factor)
        language, probability = work.language.result() if work.language.done() else (None, None)
        log.info(
            "transcribed",
            audio_s=round(progress.duration_s, 3),
            speech_s=round(progress.speech_s, 3),
            queue_s=round(work.queued_s, 3),
            inference_s=round(work.inference_s, 3),
            total_s=round(total_s, 3),
        )
        return Transcript(
            text="".join(segment.text for segment in progress.segments).strip(),
            task=work.options.task,
            language=language,
            language_probability=probability,
            duration=progress.duration_s,
            duration_after_vad=progress.speech_s,
            model=self._model_name,
            segments=tuple(progress.segments),
            warnings=audio.warnings,
            timing=Timing(
                queue_ms=work.queued_s * 1000,
                decode_ms=audio.decode_s * 1000,
                vad_ms=progress.vad_s * 1000,
                inference_ms=work.inference_s * 1000,
                total_ms=total_s * 1000,
                realtime_factor=realtime_factor,
            ),
            language_name=LANGUAGES.get(language or ""),
        )


def _spaced(segment: Segment) -> str:
    """Whisper writes a word's space before it, but now and then not at a window's start."""
    unspaced = segment.language in UNSPACED_LANGUAGES or segment.text.startswith(" ")
    return segment.text if unspaced else " " + segment.text


async def _cancel(tasks: "list[asyncio.Task[None] | asyncio.Task[list[Segment]]]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
