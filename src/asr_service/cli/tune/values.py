"""The settings that follow from a measurement of `asr-service tune`, and what they gain."""

from typing import Final

from asr_service.engine.schedule.batch import BatchLimit
from asr_service.engine.tuning.choice import MIN_GAIN
from asr_service.engine.tuning.measure import TuningResult

NAMES: Final = ("ASR_MODEL_THREADS", "ASR_ENCODE_BATCH", "ASR_DECODE_BATCH")


def tuned_values(result: TuningResult) -> dict[str, int]:
    """Return the settings to make, by name; none if the gain is too small.

    ASR_DECODE_BATCH is left unset if the chosen default depends on the windows' length: no number has that effect.
    """
    if result.gain < MIN_GAIN:
        return {}
    chosen, default = result.chosen, result.default
    values = dict(zip(NAMES, (chosen.threads, chosen.encode.n_windows, chosen.decode.n_windows), strict=True))
    if chosen.decode == default.decode and default.decode.n_frames is not None:
        del values["ASR_DECODE_BATCH"]
    return values


def gain_text(result: TuningResult) -> str:
    """Return a sentence about the gain over the defaults."""
    if result.gain < MIN_GAIN:
        return f"The defaults are within {100 * (MIN_GAIN - 1):.0f} % of the fastest values: nothing to change."
    default = result.default
    described = f"threads {default.threads}, encode {limit_text(default.encode)}, decode {limit_text(default.decode)}"
    return f"{100 * (result.gain - 1):.0f} % more windows a second than with the defaults ({described})."


def limit_text(limit: BatchLimit) -> str:
    """Return a limit as text, such as `4, at most 40.96 s of windows`."""
    bound = "" if limit.n_frames is None else f", at most {limit.n_frames / 100:g} s of windows"
    return f"{limit.n_windows}{bound}"
