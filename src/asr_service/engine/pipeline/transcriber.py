"""Transcribes one recording: takes an open file, yields segments as they become known, and a transcript at the end.

Memory is limited by the block and not by the recording. Blocks are decoded when they are needed, and only a few windows
of a request are with the model at a time.
"""

import asyncio
import itertools
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import BinaryIO, Final

import structlog

from asr_service import metrics, tasks
from asr_service.access.caller import UNKNOWN_CALLER, Caller
from asr_service.audio import SAMPLE_RATE
from asr_service.audio.chunking import Chunk
from asr_service.audio.peaks import PeakMeter
from asr_service.decoder.pool import DecodedAudio, DecoderPool
from asr_service.decoder.sandboxed.sniff import container_by_signature
from asr_service.engine.decode.code_switching import split_by_language
from asr_service.engine.decode.text_before import PreviousText, TextBefore
from asr_service.engine.decode.window import WindowDecoder
from asr_service.engine.options import DecodingOptions, Task
from asr_service.engine.pipeline.inflight import InflightWindow
from asr_service.engine.pipeline.script import ScriptConverter
from asr_service.engine.pipeline.speech import SpeechChunker
from asr_service.engine.pipeline.window_memory import MemoryShare, WindowMemory
from asr_service.engine.schedule.request import RequestContext
from asr_service.engine.schedule.scheduler import Scheduler
from asr_service.languages import LANGUAGES, UNSPACED_LANGUAGES, written_language
from asr_service.transcript import Detection, Segment, Timing, Transcript

_NO_SPEECH: Final = "No speech was found."

log = structlog.get_logger(__name__)

_SIGNATURE_BYTES: Final = 16
_MAX_CLIP_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class PipelineLimits:
    """How much of one request is in memory or in progress at a time."""

    max_block_s: float
    """Longest block of decoded audio."""
    max_inflight_windows: int
    """Windows that are with the model, or decoded and not yet read."""
    request_timeout_s: float


@dataclass(frozen=True, slots=True)
class _Request:
    audio: DecodedAudio
    speech: SpeechChunker
    context: RequestContext
    memory: MemoryShare
    started_at: float
    script: ScriptConverter
    done: list[Segment]
    """The segments that are known, in order. At first, those of an earlier run that did not finish."""
    peaks: PeakMeter | None


class Transcriber:
    """Transcribes recordings with one slot's model. Runs any number of requests at a time, on one event loop."""

    def __init__(
        self,
        decoders: DecoderPool,
        windows: WindowDecoder,
        scheduler: Scheduler,
        memory: WindowMemory,
        cpu_pool: Executor,
        limits: PipelineLimits,
        model_name: str,
        request_ids: "itertools.count[int] | None" = None,
    ) -> None:
        """Create a transcriber over a running scheduler. `cpu_pool` runs voice activity detection.

        `request_ids` gives the ids of requests within the slot, if others take them too.
        """
        self._decoders = decoders
        self._cpu_pool = cpu_pool
        self._windows = windows
        self._scheduler = scheduler
        self._memory = memory
        self._limits = limits
        self._model_name = model_name
        self._request_ids = request_ids or itertools.count()

    async def transcribe(
        self,
        file: BinaryIO,
        options: DecodingOptions,
        *,
        deadline: float | None = None,
        on_audio: Callable[[float], None] = lambda _: None,
        on_length: Callable[[float], None] = lambda _: None,
        earlier: Sequence[Segment] = (),
        is_bulk: bool = False,
        caller: Caller = UNKNOWN_CALLER,
    ) -> AsyncGenerator[Segment | Transcript]:
        """Yield each Segment as soon as it and all before it are known, and then the Transcript.

        `file` is open and seekable. `deadline` is in seconds of `time.monotonic`; without it, each call of the model
        has the request time-out for itself. `on_audio` is called with the seconds of each block of audio as it is
        decoded, and `on_length` with the recording's estimated seconds. Closing the generator cancels the rest of the
        request. `is_bulk` says that no client waits: other requests go first. Callers share the model equally.

        `earlier` are the first segments that an interrupted run with the same file, options, model and settings
        yielded. The chunk of the last of them may be incomplete, so it is decoded again; the chunks before it are not.
        Only new segments are yielded. The Transcript has all of them, each once.

        Raises RequestError: the file cannot be decoded.
        Raises Unavailable, DeadlineExceeded, InferenceFailed: the model could not complete the request.
        """
        async with self._open(
            file, options, deadline, on_audio, on_length, earlier, is_bulk=is_bulk, caller=caller
        ) as request:
            done = request.done
            async with aclosing(self._segments(request)) as segments:
                async for segment in segments:
                    done.append(replace(with_leading_space(segment, options.task), id=len(done)))
                    yield done[-1]
            yield self._conclude(request, tuple(done))

    async def probe(self, file: BinaryIO, options: DecodingOptions) -> float | None:
        """Decode the first second of a recording. Returns the estimated length in seconds; None if it is not known.

        A small file with the signature of a container is not decoded: a decoder costs 16 ms of processor time, which is
        much compared with a clip.

        Raises RequestError: the file cannot be decoded. Raises Unavailable: no decoder can be started.
        """
        if options.audio_track is None and _is_likely_clip(file):
            return None
        async with self._decoders.decode(file, options.audio_track) as audio:
            await audio.read(SAMPLE_RATE)
            return audio.estimated_duration_s

    async def detect_language(
        self,
        file: BinaryIO,
        options: DecodingOptions,
        *,
        deadline: float,
        on_audio: Callable[[float], None] = lambda _: None,
        caller: Caller = UNKNOWN_CALLER,
    ) -> Detection:
        """Detect the language from the first window with speech. Audio after its block is not decoded.

        Takes the arguments and raises the errors of `transcribe`.
        """
        async with (
            self._open(file, options, deadline, on_audio, caller=caller) as request,
            aclosing(request.speech.chunks()) as chunks,
        ):
            async for chunk in chunks:
                probabilities = await self._detect(request, chunk, is_first_window=True)
                end = chunk.to_source_time(chunk.duration_s, is_end=True)
                return Detection(tuple(probabilities.items()), chunk.to_source_time(0), end)
        return Detection(())

    @asynccontextmanager
    async def _open(
        self,
        file: BinaryIO,
        options: DecodingOptions,
        deadline: float | None,
        on_audio: Callable[[float], None],
        on_length: Callable[[float], None] = lambda _: None,
        earlier: Sequence[Segment] = (),
        *,
        is_bulk: bool = False,
        caller: Caller,
    ) -> AsyncIterator[_Request]:
        context = self._context(options, deadline, is_bulk=is_bulk, caller=caller)
        started_at = time.monotonic()
        vad = options.vad if options.vad_filter else None
        lengths = self._windows.chunk_lengths(options)
        if not is_bulk:
            self._scheduler.expect_client(context.request_id)
        try:
            async with self._decoders.decode(file, options.audio_track) as audio:

                def note(audio_s: float) -> None:
                    on_audio(audio_s)
                    if audio.estimated_duration_s is not None:
                        on_length(audio.estimated_duration_s)

                peaks = PeakMeter() if options.peaks else None
                speech = SpeechChunker(audio, vad, lengths, self._limits.max_block_s, self._cpu_pool, note, peaks)
                script = ScriptConverter(options, earlier)
                yield _Request(audio, speech, context, MemoryShare(is_bulk), started_at, script, list(earlier), peaks)
        finally:
            self._scheduler.cancel_request(context.request_id)

    def _context(
        self, options: DecodingOptions, deadline: float | None, *, is_bulk: bool, caller: Caller
    ) -> RequestContext:
        next_deadline: Callable[[], float] = (
            (lambda: deadline) if deadline is not None else lambda: time.monotonic() + self._limits.request_timeout_s
        )
        language: asyncio.Future[tuple[str, float]] = asyncio.get_running_loop().create_future()
        context = RequestContext(
            self._scheduler, next(self._request_ids), options, next_deadline, language, is_bulk, caller
        )
        if options.language is not None:
            context.set_language(options.language, 1.0)
        return context

    async def _segments(self, request: _Request) -> AsyncGenerator[Segment]:
        """Yield the segments in order, while later windows are already being decoded."""
        places = asyncio.Semaphore(self._limits.max_inflight_windows)
        started: asyncio.Queue[InflightWindow | None] = asyncio.Queue()
        starter = asyncio.create_task(self._start_windows(request, places, started))
        windows: list[InflightWindow] = []
        try:
            while (window := await started.get()) is not None:
                windows.append(window)
                async with aclosing(window.segments()) as known:
                    async for segments in known:
                        for segment in request.script.convert(segments):
                            yield segment
                windows.clear()
                places.release()
            await starter
        finally:
            while not started.empty():
                windows += [window for window in [started.get_nowait()] if window is not None]
            await tasks.cancel([starter, *(window.task for window in windows)])

    async def _start_windows(
        self, request: _Request, places: asyncio.Semaphore, started: "asyncio.Queue[InflightWindow | None]"
    ) -> None:
        """Start decoding one window after the other, as far as there are places. None ends the queue."""
        is_first_window = True
        previous: PreviousText | None = None
        try:
            async with aclosing(self._parts(request)) as parts:
                async for chunk, language in parts:
                    await places.acquire()
                    if is_first_window and request.context.options.condition_on_previous_text:
                        previous = PreviousText(request.done)
                    window = await self._start_window(
                        request, chunk, language, previous, is_first_window=is_first_window
                    )
                    started.put_nowait(window)
                    is_first_window = False
        finally:
            started.put_nowait(None)

    async def _start_window(
        self,
        request: _Request,
        chunk: Chunk,
        language: str | None,
        previous: PreviousText | None,
        *,
        is_first_window: bool,
    ) -> InflightWindow:
        """Begin to decode a window when there is memory for it. The memory is free again when the window is decoded."""
        await self._memory.take(request.memory)
        try:
            # Windows are prepared one by one, so that the first window is also the first in the model's queue.
            task = await self._windows.prepare(
                request.context,
                chunk,
                language=language,
                is_first_window=is_first_window,
                text_before=previous.before_next if previous else TextBefore(),
            )
        except BaseException:
            self._memory.give_back(request.memory)
            raise
        decoding = self._windows.decode(task)
        window = InflightWindow(previous.follow(decoding) if previous else decoding)
        window.task.add_done_callback(lambda _: self._memory.give_back(request.memory))
        return window

    async def _detect(self, request: _Request, chunk: Chunk, *, is_first_window: bool) -> Mapping[str, float]:
        async with self._memory.window(request.memory):
            return await self._windows.detect_language(request.context, chunk, is_first_window=is_first_window)

    async def _parts(self, request: _Request) -> AsyncGenerator[tuple[Chunk, str | None]]:
        """Yield the recording's chunks; if the language may change, split where it does, each with its language."""
        context, is_first_window = request.context, True
        async with aclosing(self._new_chunks(request)) as chunks:
            async for chunk in chunks:
                if not context.options.language_per_chunk:
                    yield chunk, None
                    continue
                detect = partial(self._detect, request, is_first_window=is_first_window)
                is_first_window = False
                for part in await split_by_language(chunk, detect):
                    context.set_language(part.language, part.probability)
                    yield part.chunk, part.language

    async def _new_chunks(self, request: _Request) -> AsyncGenerator[Chunk]:
        """Yield the chunks that the earlier run did not finish, and forget the segments that it had of them."""
        earlier = request.done
        last_window_s = earlier[-1].window_start if earlier else 0.0
        async with aclosing(request.speech.chunks()) as chunks:
            async for chunk in chunks:
                if earlier and chunk.to_source_time(chunk.duration_s, is_end=True) <= last_window_s:
                    await self._restore_language(request, chunk, earlier[0].language)
                    continue
                if earlier:
                    start_s = chunk.to_source_time(0)
                    request.done[:] = [segment for segment in earlier if segment.window_start < start_s]
                    earlier = []
                yield chunk

    async def _restore_language(self, request: _Request, chunk: Chunk, language: str) -> None:
        """Set the language that the earlier run detected. The first chunk has its probability."""
        if not request.context.language.done():
            probabilities = await self._detect(request, chunk, is_first_window=True)
            request.context.set_language(language, probabilities.get(language, 0.0))

    def _conclude(self, request: _Request, segments: tuple[Segment, ...]) -> Transcript:
        audio, speech, context = request.audio, request.speech, request.context
        total_s = time.monotonic() - request.started_at
        duration_s = audio.n_samples / SAMPLE_RATE
        realtime_factor = total_s / duration_s if duration_s else 0.0
        metrics.AUDIO_SECONDS.inc(duration_s)
        if duration_s:
            length = "long" if duration_s >= metrics.LONG_RECORDING_S else "short"
            metrics.REALTIME_FACTOR.labels(length).observe(realtime_factor)
        inference_s = context.inference_s
        language, probability = context.language.result() if context.language.done() else (None, None)
        log.info(
            "transcribed",
            audio_s=round(duration_s, 3),
            speech_s=round(speech.speech_s, 3),
            queue_s=round(context.queued_s, 3),
            inference_s=round(inference_s, 3),
            total_s=round(total_s, 3),
        )
        text = "".join(segment.text for segment in segments).strip()
        return Transcript(
            text=text,
            task=context.options.task,
            language=language,
            language_probability=probability,
            duration=audio.end_s,
            duration_after_vad=speech.speech_s,
            model=self._model_name,
            segments=segments,
            warnings=audio.warnings if text else (*audio.warnings, _NO_SPEECH),
            timing=Timing(
                queue_ms=context.queued_s * 1000,
                decode_ms=audio.decode_s * 1000,
                vad_ms=speech.vad_s * 1000,
                inference_ms=inference_s * 1000,
                total_ms=total_s * 1000,
                realtime_factor=realtime_factor,
            ),
            language_name=LANGUAGES.get(language or ""),
            peaks=None if request.peaks is None else request.peaks.peaks(),
        )


def _is_likely_clip(file: BinaryIO) -> bool:
    head = os.pread(file.fileno(), _SIGNATURE_BYTES, 0)
    return os.fstat(file.fileno()).st_size < _MAX_CLIP_BYTES and container_by_signature(head) is not None


def with_leading_space(segment: Segment, task: Task) -> Segment:
    """Add the space before the first word, which Whisper now and then leaves out at the start of a window."""
    if written_language(segment.language or "", task) in UNSPACED_LANGUAGES or segment.text.startswith(" "):
        return segment
    words = segment.words and (replace(segment.words[0], word=" " + segment.words[0].word), *segment.words[1:])
    return replace(segment, text=" " + segment.text, words=words)
