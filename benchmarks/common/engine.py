"""The service's engine in this process, for benchmarks that compare its settings without HTTP."""

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from asr_service.decoder.pool import DecodeLimits, DecoderPool
from asr_service.engine.build import Engine, build_engine
from asr_service.engine.model.protocol import SpeechModel
from asr_service.engine.pipeline.transcriber import Transcriber
from asr_service.settings import Settings

_MAX_AUDIO_S = 3600


@asynccontextmanager
async def running_engine(settings: Settings, model: SpeechModel) -> AsyncIterator[Transcriber]:
    """Yield the transcriber of an engine around a loaded model. Several engines can share one model."""
    async with running_whole_engine(settings, model) as engine:
        yield engine.transcriber


@asynccontextmanager
async def running_whole_engine(settings: Settings, model: SpeechModel) -> AsyncIterator[Engine]:
    """Yield an engine around a loaded model: its transcriber and its live sessions."""
    decoders = DecoderPool(DecodeLimits(max_audio_s=_MAX_AUDIO_S))
    await decoders.start()
    with ThreadPoolExecutor(2) as cpu_pool:
        engine = build_engine(settings, model, decoders, cpu_pool, _fail)
        engine.scheduler.start()
        try:
            yield engine
        finally:
            engine.scheduler.stop()
            engine.scheduler.join(5)
            await decoders.close()


def _fail(reason: str) -> None:
    raise RuntimeError(reason)
