"""Warm-up: the model's first calls, before the first request. They select kernels and allocate memory.

They include word alignment, the stage most likely to fail on an untested GPU.
"""

import time
from typing import Any

from asr_service.audio.features import FULL_CONTEXT, LogMel
from asr_service.audio.synthetic import synthetic_sound
from asr_service.engine.model.calls import STAGES, AlignCall, Call, EncodeCall, Encoded, GenerateCall
from asr_service.engine.model.prompt import generate_options
from asr_service.engine.model.protocol import Generation, SpeechModel
from asr_service.engine.model.stages import Stage
from asr_service.engine.model.vocabulary import Vocabulary
from asr_service.engine.options import DecodingOptions
from asr_service.engine.schedule.batch import QueueEntry
from asr_service.engine.schedule.scheduler import Scheduler

_SECONDS = 2
_TOKENS = 16
_CPU_CONTEXT = 832
_REQUEST_ID = -1


def warm_up(scheduler: Scheduler, model: SpeechModel) -> None:
    """Encode, decode and align two seconds of sound; on a GPU in full windows of 30 s and the largest batches.

    If such a batch does not fit in the GPU's memory, the scheduler lowers its limits here. A CPU selects nothing by
    size, so a longer warm-up would only delay its first request.
    Raises RuntimeError: the model cannot do one of the stages.
    """
    on_gpu = model.facts.device.kind == "cuda"
    n_windows = {stage: scheduler.limit(stage) if on_gpu else 1 for stage in Stage}
    vocabulary = Vocabulary(model.tokenizer, multilingual=model.facts.multilingual)
    options = DecodingOptions(language="en", word_timestamps=True, max_new_tokens=_TOKENS)
    prompt = vocabulary.prompt(options, "en")
    features = LogMel(model.facts.n_mels)(synthetic_sound(_SECONDS), FULL_CONTEXT if on_gpu else _CPU_CONTEXT)
    encoded: Encoded = _run(scheduler, EncodeCall(features, model.facts.multilingual), n_windows[Stage.ENCODE])
    decode = GenerateCall(encoded.encoding, prompt, generate_options(options, prompt, 0.0, vocabulary.suppressed))
    generated: Generation = _run(scheduler, decode, n_windows[Stage.GENERATE])
    tokenizer = vocabulary.tokenizer_for("en", "transcribe")
    text = tuple(token for token in generated.tokens if token < tokenizer.eot) or tuple(tokenizer.encode(" hello"))
    align = AlignCall(encoded.encoding, tuple(tokenizer.sot_sequence), text, _SECONDS * 100)
    _run(scheduler, align, n_windows[Stage.ALIGN])
    # First calls are slow and two seconds are little audio: an estimate from them would refuse the first requests.
    scheduler.reset_throughput()
    scheduler.cancel_request(_REQUEST_ID)


def _run(scheduler: Scheduler, call: Call, n_entries: int) -> Any:
    now = time.monotonic()
    entries = [
        QueueEntry(
            STAGES[type(call)],
            call.key,
            _REQUEST_ID,
            call,
            _SECONDS,
            call.n_frames_padded,
            deadline=float("inf"),
            enqueued_at=now,
        )
        for _ in range(n_entries)
    ]
    return [future.result() for future in [scheduler.submit(entry) for entry in entries]].pop()
