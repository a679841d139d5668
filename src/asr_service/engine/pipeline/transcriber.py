"""Transcribes one recording: takes an open file, yields segments as they become known, and a transcript at the end.

Memory is limited by the block and not by the recording. Blocks are decoded when they are needed, and only a few windows
of a request are with the model at a time.
"""

import itertools
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import BinaryIO, Final

from asr_service.access.caller import UNKNOWN_CALLER, Caller
from asr_service.audio import SAMPLE_RATE
from asr_service.audio.peaks import PeakMeter
from asr_service.decoder.pool import DecoderPool
from asr_service.decoder.recording.containers.signatures import container_by_signature
from asr_service.engine.decode.window import WindowDecoder
from asr_service.engine.options import DecodingOptions
from asr_service.engine.pipeline.conclusion import conclude
from asr_service.engine.pipeline.leading_space import with_leading_space
from asr_service.engine.pipeline.ordered_windows import OrderedWindows
from asr_service.engine.pipeline.recording import Recording
from asr_service.engine.pipeline.recording_parts import RecordingParts
from asr_service.engine.pipeline.script import ScriptConverter
from asr_service.engine.pipeline.speech import SpeechChunker
from asr_service.engine.pipeline.window_memory import MemoryShare, WindowMemory
from asr_service.engine.schedule.request import RequestHandle
from asr_service.engine.schedule.scheduler import Scheduler
from asr_service.transcript import Detection, Segment, Transcript

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
        request = self._new_request(options, deadline, is_bulk=is_bulk, caller=caller)
        async with self._open(file, request, on_audio, on_length, earlier) as recording:
            done = recording.done
            windows = OrderedWindows(recording, self._windows, self._memory, self._limits.max_inflight_windows)
            async with aclosing(windows.segments()) as segments:
                async for segment in segments:
                    done.append(replace(with_leading_space(segment, options.task), id=len(done)))
                    yield done[-1]
            yield conclude(recording, self._model_name)

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
        request = self._new_request(options, deadline, caller=caller)
        async with (
            self._open(file, request, on_audio) as recording,
            aclosing(recording.speech.chunks()) as chunks,
        ):
            parts = RecordingParts(recording, self._windows, self._memory)
            async for chunk in chunks:
                probabilities = await parts.detect_language(chunk, is_first_window=True)
                end = chunk.to_source_time(chunk.duration_s, is_end=True)
                return Detection(tuple(probabilities.items()), chunk.to_source_time(0), end)
        return Detection(())

    @asynccontextmanager
    async def _open(
        self,
        file: BinaryIO,
        request: RequestHandle,
        on_audio: Callable[[float], None],
        on_length: Callable[[float], None] = lambda _: None,
        earlier: Sequence[Segment] = (),
    ) -> AsyncIterator[Recording]:
        options, started_at = request.options, time.monotonic()
        vad = options.vad if options.vad_filter else None
        lengths = self._windows.chunk_lengths(options)
        if not request.is_bulk:
            self._scheduler.expect_client(request.request_id)
        try:
            async with self._decoders.decode(file, options.audio_track) as audio:

                def note(audio_s: float) -> None:
                    on_audio(audio_s)
                    if audio.estimated_duration_s is not None:
                        on_length(audio.estimated_duration_s)

                peaks = PeakMeter() if options.peaks else None
                speech = SpeechChunker(audio, vad, lengths, self._limits.max_block_s, self._cpu_pool, note, peaks)
                script = ScriptConverter(options, earlier)
                share = MemoryShare(request.is_bulk)
                yield Recording(audio, speech, request, share, started_at, script, list(earlier), peaks)
        finally:
            self._scheduler.cancel_request(request.request_id)

    def _new_request(
        self, options: DecodingOptions, deadline: float | None, *, is_bulk: bool = False, caller: Caller
    ) -> RequestHandle:
        def next_deadline() -> float:
            return time.monotonic() + self._limits.request_timeout_s if deadline is None else deadline

        return RequestHandle(self._scheduler, next(self._request_ids), options, next_deadline, is_bulk, caller)


def _is_likely_clip(file: BinaryIO) -> bool:
    head = os.pread(file.fileno(), _SIGNATURE_BYTES, 0)
    return os.fstat(file.fileno()).st_size < _MAX_CLIP_BYTES and container_by_signature(head) is not None
