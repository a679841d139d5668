"""The model's first calls, made before the first request: kernels are picked and memory is taken here.

Word alignment is among them, the path most likely to fail on a new GPU.
"""

import time
from typing import Any

import numpy as np

from asr_service.audio import SAMPLE_RATE
from asr_service.audio.features import FULL_CONTEXT, LogMel
from asr_service.engine.model.calls import STAGES, AlignCall, Call, EncodeCall, Encoded, GenerateCall
from asr_service.engine.model.prompt import generate_options
from asr_service.engine.model.protocol import Generation, SpeechModel
from asr_service.engine.model.stages import Stage
from asr_service.engine.model.vocabulary import Vocabulary
from asr_service.engine.options import DecodingOptions
from asr_service.engine.schedule.batch import Job
from asr_service.engine.schedule.scheduler import Scheduler

_SECONDS = 2
_TOKENS = 16
_CPU_CONTEXT = 832
_REQUEST_ID = -1


def warm_up(scheduler: Scheduler, model: SpeechModel) -> None:
    """Encode, decode and align two seconds; on a GPU in windows of 30 s, by as many at once as the largest batch has.

    A batch too large for a GPU's memory is met here: the scheduler goes on with smaller ones. A CPU picks nothing by
    size, and its first request would only wait for what a longer warm-up takes.
    """
    on_gpu = model.facts.device.kind == "cuda"
    together = {stage: scheduler.limit(stage) if on_gpu else 1 for stage in Stage}
    vocabulary = Vocabulary(model.tokenizer, multilingual=model.facts.multilingual)
    options = DecodingOptions(language="en", word_timestamps=True, max_new_tokens=_TOKENS)
    prompt = vocabulary.prompt(options, "en")
    features = LogMel(model.facts.n_mels)(_sound(), FULL_CONTEXT if on_gpu else _CPU_CONTEXT)
    encoded: Encoded = _run(scheduler, EncodeCall(features, model.facts.multilingual), together[Stage.ENCODE])
    decode = GenerateCall(encoded.encoding, prompt, generate_options(options, prompt, 0.0, vocabulary.suppressed))
    generated: Generation = _run(scheduler, decode, together[Stage.GENERATE])
    speaker = vocabulary.speaker("en", "transcribe")
    text = tuple(token for token in generated.tokens if token < speaker.eot) or tuple(speaker.encode(" hello"))
    align = AlignCall(encoded.encoding, tuple(speaker.sot_sequence), text, _SECONDS * 100)
    _run(scheduler, align, together[Stage.ALIGN])
    # First calls are slow and two seconds are little audio: by their measure the first callers would be sent away.
    scheduler.reset_throughput()
    scheduler.cancel_request(_REQUEST_ID)


def _run(scheduler: Scheduler, call: Call, n_jobs: int) -> Any:
    now = time.monotonic()
    jobs = [
        Job(
            STAGES[type(call)],
            call.key,
            _REQUEST_ID,
            call,
            _SECONDS,
            call.n_frames_padded,
            deadline=float("inf"),
            enqueued_at=now,
        )
        for _ in range(n_jobs)
    ]
    return [future.result() for future in [scheduler.submit(job) for job in jobs]].pop()


def _sound() -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Two seconds that are neither silent nor all alike: a tone that rises, under noise."""
    t = np.arange(_SECONDS * SAMPLE_RATE, dtype=np.float32) / SAMPLE_RATE
    noise = np.random.default_rng(0).standard_normal(len(t), dtype=np.float32)
    return (0.3 * np.sin(2 * np.pi * (200 + 150 * t) * t) + 0.02 * noise).astype(np.float32)
