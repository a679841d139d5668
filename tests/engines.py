"""An engine with a fake model and real decoder processes, for tests."""

import io
import tempfile
import wave
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import BinaryIO, cast

import numpy as np

from asr_service.audio.features import LogMel
from asr_service.decoder.pool import DecodeLimits, DecoderPool
from asr_service.engine.decode.window import WindowDecoder
from asr_service.engine.model.calls import run_calls
from asr_service.engine.model.stages import Stage
from asr_service.engine.model.vocabulary import Vocabulary
from asr_service.engine.options import DecodingOptions
from asr_service.engine.pipeline.transcriber import PipelineLimits, Transcriber
from asr_service.engine.pipeline.window_memory import WindowMemory
from asr_service.engine.schedule.batch import BatchLimit
from asr_service.engine.schedule.scheduler import Scheduler
from asr_service.transcript import Segment, Transcript
from fakes import FakeModel

RATE = 16_000


def wav(samples: np.ndarray) -> bytes:
    """Return a WAV file of float samples at 16 kHz."""
    data = io.BytesIO()
    with wave.open(data, "wb") as out:
        out.setparams((1, 2, RATE, 0, "NONE", ""))
        out.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return data.getvalue()


def loud(seconds: float) -> np.ndarray:
    """Return noise. Voice activity detection finds no speech in it, so transcribe it with vad_filter off."""
    return np.random.default_rng(1).uniform(-0.5, 0.5, int(seconds * RATE)).astype(np.float32)


@dataclass
class Engine:
    """A transcriber with its scheduler and its model."""

    transcriber: Transcriber
    scheduler: Scheduler
    model: FakeModel
    files: ExitStack

    def recording(self, samples: np.ndarray) -> BinaryIO:
        return self.file(wav(samples))

    def file(self, data: bytes) -> BinaryIO:
        """Return an open file on disk with this content. It is removed with the engine."""
        file = self.files.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        file.write(data)
        file.flush()
        file.seek(0)
        return cast("BinaryIO", file)

    def events(
        self, file: BinaryIO, options: DecodingOptions, deadline: float | None = None
    ) -> AsyncGenerator[Segment | Transcript]:
        return self.transcriber.transcribe(file, options, deadline=deadline)

    async def transcript(self, file: BinaryIO, options: DecodingOptions) -> Transcript:
        events = [event async for event in self.events(file, options)]
        assert isinstance(events[-1], Transcript)
        return events[-1]


@asynccontextmanager
async def engine_around(
    model: FakeModel,
    *,
    chunk_s: float | None = None,
    max_inflight_windows: int = 4,
    margin_s: float | None = None,
    memory: WindowMemory | None = None,
) -> AsyncIterator[Engine]:
    decoders = DecoderPool(DecodeLimits(max_audio_s=3600))
    await decoders.start()
    limits = {Stage.ENCODE: BatchLimit(1), Stage.GENERATE: BatchLimit(4), Stage.ALIGN: BatchLimit(4)}
    scheduler = Scheduler(
        lambda batch: run_calls(model, batch.stage, [entry.payload for entry in batch.entries]),
        limits,
        n_threads=1,
        on_failure=lambda _: None,
        probe=lambda: None,
    )
    scheduler.start()
    multilingual = model.facts.multilingual
    vocabulary = Vocabulary(model.tokenizer, multilingual=multilingual)
    cpu_pool = ThreadPoolExecutor(2)
    windows = WindowDecoder(
        vocabulary, LogMel(80), cpu_pool, multilingual=multilingual, margin_s=margin_s, chunk_length_s=chunk_s
    )
    bounds = PipelineLimits(60, max_inflight_windows=max_inflight_windows, request_timeout_s=30)
    memory = memory or WindowMemory(limit_bytes=1000, window_bytes=1)
    transcriber = Transcriber(decoders, windows, scheduler, memory, cpu_pool, bounds, "fake")
    try:
        with ExitStack() as files:
            yield Engine(transcriber, scheduler, model, files)
    finally:
        scheduler.stop()
        scheduler.join(5)
        await decoders.close()
        cpu_pool.shutdown()
