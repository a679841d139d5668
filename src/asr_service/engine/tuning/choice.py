"""Choose the fastest parallelism among measured ones. Pure: no model, no clock. `engine.tuning.measure` measures."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from asr_service.engine.model.stages import Stage
from asr_service.engine.schedule.batch import BatchLimit

MAX_CALL_S: Final = 1.0
"""Maximum duration of a call that a larger batch than the default makes: its thread serves no clip meanwhile."""
MIN_GAIN: Final = 1.05
"""A smaller gain is within the noise of the measurement."""
_AS_GOOD: Final = 0.98
"""Candidates within this factor of the fastest count as equally fast: the default is preferred, then small batches."""
_STAGES: Final = (Stage.ENCODE, Stage.GENERATE)


@dataclass(frozen=True, slots=True)
class Workload:
    """A kind of window to measure with."""

    name: str
    n_frames: int
    """Length of the window with its padding, in frames of 10 ms."""
    n_tokens: int
    """Tokens to decode."""


@dataclass(frozen=True, slots=True)
class Parallelism:
    """Threads that call the model side by side, and how many windows each call may hold."""

    threads: int
    encode: BatchLimit
    decode: BatchLimit

    def batch(self, stage: Stage, workload: Workload) -> int:
        """Return the number of windows in a full call."""
        return (self.encode if stage is Stage.ENCODE else self.decode).max_windows(workload.n_frames)


@dataclass(frozen=True, slots=True)
class Measurement:
    """The speed of `threads` calls side by side, each with `batch` windows."""

    stage: Stage
    workload: Workload
    threads: int
    batch: int
    windows_per_s: float
    """Of all threads together."""
    call_s: float


@dataclass(frozen=True, slots=True)
class Measurements:
    """All measurements of a run. If a case was measured several times, the fastest counts: noise only slows it down."""

    all: tuple[Measurement, ...]

    def find(self, stage: Stage, workload: Workload, threads: int, batch: int) -> Measurement | None:
        """Return the fastest measurement of a case, or None if it was not measured."""
        case = (stage, workload, threads, batch)
        found = [each for each in self.all if (each.stage, each.workload, each.threads, each.batch) == case]
        return max(found, key=lambda each: each.windows_per_s, default=None)

    def windows_per_s(self, workload: Workload, parallelism: Parallelism) -> float:
        """Return the windows a second through both stages, which share the threads; 0 if a stage was not measured."""
        seconds = 0.0
        for stage in _STAGES:
            found = self.find(stage, workload, parallelism.threads, parallelism.batch(stage, workload))
            if found is None:
                return 0.0
            seconds += 1 / found.windows_per_s
        return 1 / seconds

    def gain(self, workloads: Sequence[Workload], parallelism: Parallelism, over: Parallelism) -> float:
        """Return the speed of `parallelism` divided by that of `over`: the geometric mean over the workloads."""
        ratios = [self.windows_per_s(each, parallelism) / self.windows_per_s(each, over) for each in workloads]
        return math.prod(ratios) ** (1 / len(ratios))


def choose(
    measurements: Measurements,
    workloads: Sequence[Workload],
    candidates: Iterable[Parallelism],
    default: Parallelism,
) -> Parallelism:
    """Choose the fastest candidate whose calls are short enough; among equally fast ones the most like the default.

    Calls that are no larger than the default's, or hold one window, are always short enough.
    """
    short = [each for each in candidates if _is_short(measurements, workloads, each, default)]
    gains: Mapping[Parallelism, float] = {
        each: measurements.gain(workloads, each, over=default) for each in [default, *short]
    }
    enough = _AS_GOOD * max(gains.values())
    if gains[default] >= enough:
        return default
    return min(
        (each for each, gained in gains.items() if gained >= enough),
        key=lambda each: (each.threads, _rank(each.decode, default.decode), _rank(each.encode, default.encode)),
    )


def _rank(limit: BatchLimit, default: BatchLimit) -> tuple[bool, int]:
    """Order limits by size, but the default first: its bound on frames cannot be written as a number of windows."""
    return limit != default, limit.n_windows


def _is_short(
    measurements: Measurements, workloads: Sequence[Workload], parallelism: Parallelism, default: Parallelism
) -> bool:
    for workload in workloads:
        for stage in _STAGES:
            batch = parallelism.batch(stage, workload)
            found = measurements.find(stage, workload, parallelism.threads, batch)
            larger = batch > max(1, default.batch(stage, workload))
            if found is None or (larger and found.call_s > MAX_CALL_S):
                return False
    return True
