"""How many threads and windows at once are fastest here: the choice among measured sizes. Pure: no model, no clock.

`engine.tuning.measure` measures.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from asr_service.engine.model.stages import Stage
from asr_service.engine.schedule.batch import BatchLimit

LONGEST_CALL_S = 1.0
"""What one call of the model may last where a smaller one is to be had: no clip is served meanwhile."""
WORTH_WRITING = 1.05
"""Less gain than this is within what a machine scatters."""
_AS_GOOD = 0.98
"""Of sizes this near to the best the default's own are taken, else the smallest, whose calls are the shortest."""


@dataclass(frozen=True, slots=True)
class Work:
    """A window to measure with: `n_frames` (10 ms each, padding included) for the encoder, `n_tokens` to decode."""

    name: str
    n_frames: int
    n_tokens: int


@dataclass(frozen=True, slots=True)
class Sizes:
    """What is chosen: threads that run the model side by side, and what one call of each of them holds."""

    threads: int
    encode: BatchLimit
    decode: BatchLimit

    def batch(self, stage: Stage, work: Work) -> int:
        return (self.encode if stage is Stage.ENCODE else self.decode).max_windows(work.n_frames)


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement: `threads` calls at a time, of `batch` windows each."""

    stage: Stage
    work: Work
    threads: int
    batch: int
    windows_per_s: float
    """Of all threads together."""
    call_s: float


@dataclass(frozen=True, slots=True)
class Measured:
    """Points to look speeds up in; of several of one place the fastest counts, since others only ever slow it."""

    points: tuple[Point, ...]

    def at(self, stage: Stage, work: Work, threads: int, batch: int) -> Point | None:
        place = (stage, work, threads, batch)
        found = [point for point in self.points if (point.stage, point.work, point.threads, point.batch) == place]
        return max(found, key=lambda point: point.windows_per_s, default=None)

    def of(self, stage: Stage, work: Work, sizes: Sizes) -> Point | None:
        return self.at(stage, work, sizes.threads, sizes.batch(stage, work))


def windows_per_s(measured: Measured, work: Work, sizes: Sizes) -> float:
    """Windows through both stages, which share the threads; 0 where it was not measured (the device could not)."""
    points = [measured.of(stage, work, sizes) for stage in (Stage.ENCODE, Stage.GENERATE)]
    if not all(points):
        return 0.0
    return 1 / sum(1 / point.windows_per_s for point in points if point)


def gain(measured: Measured, works: Sequence[Work], sizes: Sizes, over: Sizes) -> float:
    """How many times as fast as `over` the sizes are: the geometric mean over the kinds of work."""
    ratios = [windows_per_s(measured, work, sizes) / windows_per_s(measured, work, over) for work in works]
    return math.prod(ratios) ** (1 / len(ratios))


def choose(measured: Measured, works: Sequence[Work], candidates: Iterable[Sizes], default: Sizes) -> Sizes:
    """Take the fastest of those whose calls are short enough; of those as good the most like the default.

    A batch of one is always short enough, and so is what the default does.
    """
    fit = [sizes for sizes in candidates if _is_short(measured, works, sizes, default)]
    gains: Mapping[Sizes, float] = {sizes: gain(measured, works, sizes, default) for sizes in [default, *fit]}
    enough = _AS_GOOD * max(gains.values())
    if gains[default] >= enough:
        return default
    good = [sizes for sizes, gained in gains.items() if gained >= enough]
    return min(
        good,
        key=lambda sizes: (sizes.threads, _rank(sizes.decode, default.decode), _rank(sizes.encode, default.encode)),
    )


def _rank(limit: BatchLimit, default: BatchLimit) -> tuple[bool, int]:
    """Order limits: the default first, whose rule for long and short windows no number says."""
    return limit != default, limit.n_windows


def _is_short(measured: Measured, works: Sequence[Work], sizes: Sizes, default: Sizes) -> bool:
    for work in works:
        for stage in (Stage.ENCODE, Stage.GENERATE):
            batch = sizes.batch(stage, work)
            point = measured.at(stage, work, sizes.threads, batch)
            needless = batch > max(1, default.batch(stage, work))
            if point is None or (needless and point.call_s > LONGEST_CALL_S):
                return False
    return True
