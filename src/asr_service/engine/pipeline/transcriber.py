"""Conducts one request: an open file in, segments as they are known, a transcript at the end.

Memory is bounded by the block, not by the recording: blocks are decoded as they are needed, and no more than a
few windows of a request are with the model at a time.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from concurrent.futures import Executor
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, BinaryIO

import structlog

from asr_service import metrics, tasks
from asr_service.audio import SAMPLE_RATE
from asr_service.audio.chunking import Chunk
from asr_service.decoder.pool import DecodedAudio, DecoderPool
from asr_service.engine.decode.code_switching import by_language
from asr_service.engine.decode.window import WindowDecoder
from asr_service.engine.options import DecodingOptions, Task
from asr_service.engine.pipeline.speech import SpeechChunker
from asr_service.engine.schedule.request import RequestContext
from asr_service.engine.schedule.scheduler import Scheduler
from asr_service.languages import LANGUAGES, UNSPACED_LANGUAGES, written_language
from asr_service.transcript import Detection, Segment, Timing, Transcript

log = structlog.get_logger(__name__)


class _Window:
    """One under way: what of it is known before all is, and all else. Belongs to one event loop."""

    def __init__(self, decode: Callable[..., Coroutine[Any, Any, list[Segment]]]) -> None:
        """`decode` is called with `tell`, which takes what is known early."""
        self.early: asyncio.Future[list[Segment]] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(decode(tell=self._tell))
        self.task.add_done_callback(lambda _: self._tell([]))

    def _tell(self, segments: list[Segment]) -> None:
        if not self.early.done():
            self.early.set_result(segments)


@dataclass(frozen=True, slots=True)
class PipelineLimits:
    """How much of one request is worked on at a time."""

    block_length_s: float
    max_inflight_windows: int
    """Windows of a request that may be with the model, or done and not yet taken."""
    request_timeout_s: float


@dataclass(frozen=True, slots=True)
class _Request:
    audio: DecodedAudio
    speech: SpeechChunker
    work: RequestContext
    began_at: float


class Transcriber:
    """One slot's way from files to transcripts. Any number of requests at once, on one event loop."""

    def __init__(
        self,
        decoders: DecoderPool,
        windows: WindowDecoder,
        scheduler: Scheduler,
        cpu_pool: Executor,
        limits: PipelineLimits,
        model_name: str,
    ) -> None:
        """`cpu_pool` are the threads for work beside the model's."""
        self._decoders = decoders
        self._cpu_pool = cpu_pool
        self._windows = windows
        self._scheduler = scheduler
        self._limits = limits
        self._model_name = model_name
        self._request_ids = itertools.count()

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
        done: list[Segment] = []
        async with self._open(file, options, deadline, on_audio) as request:
            async with aclosing(self._segments(request)) as segments:
                async for segment in segments:
                    done.append(replace(_spaced(segment, options.task), id=len(done)))
                    yield done[-1]
            yield self._conclude(request, tuple(done))

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
        async with (
            self._open(file, options, deadline, on_audio) as request,
            aclosing(request.speech.chunks()) as chunks,
        ):
            async for chunk in chunks:
                probabilities = await self._windows.languages(chunk, request.work)
                end = chunk.to_source_time(chunk.duration_s, is_end=True)
                return Detection(tuple(probabilities.items()), chunk.to_source_time(0), end)
        return Detection(())

    @asynccontextmanager
    async def _open(
        self, file: BinaryIO, options: DecodingOptions, deadline: float | None, on_audio: Callable[[float], None]
    ) -> AsyncIterator[_Request]:
        work = self._begin(options, deadline)
        began_at = time.monotonic()
        vad = options.vad if options.vad_filter else None
        lengths = self._windows.chunk_lengths(options)
        try:
            async with self._decoders.decode(file) as audio:
                speech = SpeechChunker(audio, vad, lengths, self._limits.block_length_s, self._cpu_pool, on_audio)
                yield _Request(audio, speech, work, began_at)
        finally:
            self._scheduler.cancel_request(work.request_id)

    def _begin(self, options: DecodingOptions, deadline: float | None) -> RequestContext:
        next_deadline: Callable[[], float] = (
            (lambda: deadline) if deadline is not None else lambda: time.monotonic() + self._limits.request_timeout_s
        )
        language: asyncio.Future[tuple[str, float]] = asyncio.get_running_loop().create_future()
        work = RequestContext(self._scheduler, next(self._request_ids), options, next_deadline, language)
        if options.language is not None:
            work.set_language(options.language, 1.0)
        return work

    async def _segments(self, request: _Request) -> AsyncGenerator[Segment]:
        """Segments in order, while later windows are already under way."""
        room = asyncio.Semaphore(self._limits.max_inflight_windows)
        under_way: asyncio.Queue[_Window | None] = asyncio.Queue()
        feeder = asyncio.create_task(self._feed(request, room, under_way))
        windows: list[_Window] = []
        try:
            while (window := await under_way.get()) is not None:
                windows.append(window)
                for known in (window.early, window.task):
                    for segment in await known:
                        yield segment
                windows.clear()
                room.release()
            await feeder
        finally:
            while not under_way.empty():
                windows += [window for window in [under_way.get_nowait()] if window is not None]
            await tasks.cancel([feeder, *(window.task for window in windows)])

    async def _feed(
        self, request: _Request, room: asyncio.Semaphore, under_way: "asyncio.Queue[_Window | None]"
    ) -> None:
        work, first = request.work, True
        try:
            async with aclosing(self._parts(request)) as parts:
                async for chunk, language in parts:
                    await room.acquire()
                    # One after the other, so that the first window is also the first with the model.
                    features = await self._windows.prepare(chunk, work.options)
                    decode = partial(self._windows.decode, chunk, features, work, first=first, language=language)
                    under_way.put_nowait(_Window(decode))
                    first = False
        finally:
            under_way.put_nowait(None)

    async def _parts(self, request: _Request) -> AsyncGenerator[tuple[Chunk, str | None]]:
        """The recording's chunks; where the language may change, cut where it does, each with its own."""
        work = request.work
        async with aclosing(request.speech.chunks()) as chunks:
            async for chunk in chunks:
                if not work.options.language_per_chunk:
                    yield chunk, None
                    continue
                for part in await by_language(chunk, lambda stretch: self._windows.languages(stretch, work)):
                    work.set_language(part.language, part.probability)
                    yield part.chunk, part.language

    def _conclude(self, request: _Request, segments: tuple[Segment, ...]) -> Transcript:
        audio, speech, work = request.audio, request.speech, request.work
        total_s = time.monotonic() - request.began_at
        duration_s = audio.n_samples / SAMPLE_RATE
        realtime_factor = total_s / duration_s if duration_s else 0.0
        metrics.AUDIO_SECONDS.inc(duration_s)
        if duration_s:
            metrics.REALTIME_FACTOR.observe(realtime_factor)
        inference_s = work.inference_s
        language, probability = work.language.result() if work.language.done() else (None, None)
        log.info(
            "transcribed",
            audio_s=round(duration_s, 3),
            speech_s=round(speech.speech_s, 3),
            queue_s=round(work.queued_s, 3),
            inference_s=round(inference_s, 3),
            total_s=round(total_s, 3),
        )
        return Transcript(
            text="".join(segment.text for segment in segments).strip(),
            task=work.options.task,
            language=language,
            language_probability=probability,
            duration=duration_s,
            duration_after_vad=speech.speech_s,
            model=self._model_name,
            segments=segments,
            warnings=audio.warnings,
            timing=Timing(
                queue_ms=work.queued_s * 1000,
                decode_ms=audio.decode_s * 1000,
                vad_ms=speech.vad_s * 1000,
                inference_ms=inference_s * 1000,
                total_ms=total_s * 1000,
                realtime_factor=realtime_factor,
            ),
            language_name=LANGUAGES.get(language or ""),
        )


def _spaced(segment: Segment, task: Task) -> Segment:
    """Whisper writes a word's space before it, but now and then not at a window's start."""
    if written_language(segment.language or "", task) in UNSPACED_LANGUAGES or segment.text.startswith(" "):
        return segment
    words = segment.words and (replace(segment.words[0], word=" " + segment.words[0].word), *segment.words[1:])
    return replace(segment, text=" " + segment.text, words=words)
