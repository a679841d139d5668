"""Builds the engine of a slot around a loaded model."""

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np

from asr_service.audio.features import FULL_CONTEXT, LogMel
from asr_service.decoder.pool import DecoderPool
from asr_service.engine.decode.context import chunk_lengths
from asr_service.engine.decode.window import WindowDecoder
from asr_service.engine.model.calls import run_calls
from asr_service.engine.model.protocol import SpeechModel
from asr_service.engine.model.stages import Stage
from asr_service.engine.model.vocabulary import Vocabulary
from asr_service.engine.options import DecodingOptions
from asr_service.engine.pipeline.live.finisher import MAX_ATTEMPTS
from asr_service.engine.pipeline.live.partial import PARTIAL_MARGIN_S, PartialDecoder
from asr_service.engine.pipeline.live.sessions import LiveSessions
from asr_service.engine.pipeline.transcriber import PipelineLimits, Transcriber
from asr_service.engine.pipeline.window_memory import WindowMemory
from asr_service.engine.schedule.scheduler import Scheduler
from asr_service.engine.sizing import (
    batch_limits,
    encoder_margin_s,
    gpu_memory,
    host_window_bytes,
    window_memory_bytes,
)
from asr_service.settings import Settings

CPU_COALESCE_WAIT_S: Final = 0.005


@dataclass(frozen=True, slots=True)
class Engine:
    """A loaded model with the scheduler, the transcriber and the live sessions that use it."""

    model: SpeechModel
    scheduler: Scheduler
    transcriber: Transcriber
    live: LiveSessions


def build_engine(
    settings: Settings,
    model: SpeechModel,
    decoders: DecoderPool,
    cpu_pool: ThreadPoolExecutor,
    on_failure: Callable[[str], None],
    on_window_memory: Callable[[int], None] = lambda _: None,
    *,
    live_pool: ThreadPoolExecutor | None = None,
    slot_name: str = "0",
) -> Engine:
    """Connect model, scheduler, window decoder, transcriber and live sessions. The scheduler is not started.

    `cpu_pool` has threads for voice activity detection and features; `live_pool` has those of live sessions, which must
    not wait for the long blocks of recordings. `slot_name` is the label of the slot in metrics.

    `on_failure` is called with the reason when the model can no longer be used. `on_window_memory` is called with the
    bytes that the windows of all requests take, whenever they change.
    """
    facts = model.facts
    live_pool = live_pool or cpu_pool
    on_gpu = facts.device.kind == "cuda"
    scheduler = Scheduler(
        lambda batch: run_calls(model, batch.stage, [entry.payload for entry in batch.entries]),
        batch_limits(settings, on_gpu=on_gpu, memory=gpu_memory(facts, facts.threads)),
        n_threads=facts.threads,
        on_failure=on_failure,
        probe=lambda: _encode_silence(model),
        coalesce_wait_s=0.0 if on_gpu else CPU_COALESCE_WAIT_S,
        priority_thread=facts.priority_thread,
    )
    vocabulary = Vocabulary(model.tokenizer, multilingual=facts.multilingual)
    log_mel = LogMel(facts.n_mels)
    margin_s = encoder_margin_s(settings, on_gpu=on_gpu)

    def window_decoder(pool: ThreadPoolExecutor, max_attempts: int | None = None) -> WindowDecoder:
        return WindowDecoder(
            vocabulary,
            log_mel,
            pool,
            multilingual=facts.multilingual,
            margin_s=margin_s,
            chunk_length_s=settings.chunk_length_s,
            max_attempts=max_attempts,
        )

    limits = PipelineLimits(
        max_block_s=settings.block_length_s,
        max_inflight_windows=2 * max(scheduler.limit(Stage.GENERATE), facts.threads),
        request_timeout_s=settings.request_timeout_s,
    )
    section_s = chunk_lengths(DecodingOptions(), margin_s, settings.chunk_length_s).section_s
    window_bytes = host_window_bytes(facts, section_s)
    memory = WindowMemory(
        window_memory_bytes(window_bytes, limits.max_inflight_windows), window_bytes, on_window_memory
    )
    request_ids = itertools.count()
    transcriber = Transcriber(
        decoders, window_decoder(cpu_pool), scheduler, memory, cpu_pool, limits, facts.name, request_ids
    )
    live = LiveSessions(
        window_decoder(live_pool, max_attempts=MAX_ATTEMPTS),
        PartialDecoder(
            vocabulary,
            log_mel,
            live_pool,
            multilingual=facts.multilingual,
            margin_s=None if margin_s is None else PARTIAL_MARGIN_S,
        ),
        scheduler,
        memory,
        live_pool,
        request_ids,
        facts.name,
        n_threads=facts.threads,
        slot_name=slot_name,
    )
    return Engine(model, scheduler, transcriber, live)


def _encode_silence(model: SpeechModel) -> None:
    """Encode one window of silence at full context. Raises RuntimeError: the device does not work."""
    model.encode([np.zeros((model.facts.n_mels, FULL_CONTEXT), np.float32)])
