"""How much is done at once: windows in one call of the model, and threads beside it."""

import os
from collections.abc import Mapping
from dataclasses import replace

from asr_service.engine.model.stages import Stage
from asr_service.engine.schedule.batch import BatchLimit
from asr_service.settings import Settings

_MOST_HELPERS = 4
_MOST_CPU_FRAMES = 3400
"""With the short context's margin and least length: four windows of up to 5.8 s of speech, three of up to 8.3 s, two
of up to 14.1 s, else one; so two clips of 11 s share a call. On the 2-core Xeon of benchmarks/results/sim-costs.json a
window in a pair takes up to a tenth less of the decoder than one alone (of 11 s 9 %), in fours about the same; on an
AMD processor without AMX fours did pay. More frames make longer calls, and a thread serves no clip during a call.
"""


def batch_limits(settings: Settings, *, on_gpu: bool) -> Mapping[Stage, BatchLimit]:
    """Windows in one call. A GPU's encoder and decoder both gain from company.

    A CPU's encoder gains nothing. Its decoder gains 5 to 27 % (by the run) from four windows of 30 s in a call, which
    then lasts seconds in which its thread serves no clip. So by default the frames of a CPU's decoder call are bounded.
    """
    encode = BatchLimit(settings.encode_batch or (8 if on_gpu else 1))
    decode = BatchLimit(settings.decode_batch or (16 if on_gpu else 4))
    if not (settings.decode_batch or on_gpu):
        decode = replace(decode, n_frames=_MOST_CPU_FRAMES)
    return {Stage.ENCODE: encode, Stage.GENERATE: decode, Stage.ALIGN: decode}


def encoder_margin_s(settings: Settings, *, on_gpu: bool) -> float | None:
    """Quiet that the encoder gets after the speech; None where it always gets 30 s.

    A GPU decodes sixteen windows in little more than the time of one, but only windows of one length: short contexts
    have many lengths, and would each be decoded nearly alone.
    """
    context = settings.encoder_context or ("full" if on_gpu else "short")
    return settings.encoder_margin_s if context == "short" else None


def helper_threads() -> int:
    """Threads for voice activity and features: each holds a block's memory, and they share the cores with the model."""
    return min(len(os.sched_getaffinity(0)), _MOST_HELPERS)
