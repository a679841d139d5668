"""The durations of model calls, measured or assumed: all that the simulator knows about a machine."""

import json
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from asr_service.engine.model.stages import Stage
from asr_service.engine.schedule.batch import BatchLimit
from asr_service.engine.sizing import batch_limits
from asr_service.settings import Settings


@dataclass(frozen=True, slots=True)
class Cost:
    """The duration of one call with `n_windows` windows of `n_frames` (10 ms each)."""

    stage: Stage
    n_frames: int
    n_windows: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Costs:
    """The machine of one slot."""

    source: str
    """Where the figures are from: the machine on which they were measured, or assumed."""
    on_gpu: bool
    threads: int
    """Number of model calls side by side."""
    cores: int
    """Cores that the model calls (on a CPU) share with audio decoding and features."""
    calls: tuple[Cost, ...]
    """Calls that have the machine to themselves."""
    crowding: float
    """How much longer a call takes while every thread runs one."""
    spread: tuple[float, ...]
    """Decoding times of single windows divided by the mean of their length."""
    before_fixed_s: float
    """Core seconds of a request before its first window: receiving it and starting the decoder."""
    before_per_audio_s: float
    """Core seconds for each second of audio: decoding, voice activity detection, features."""
    hop_s: float
    """Seconds from a call's end until the window's next entry is queued."""
    coalesce_wait_s: float
    redone: float
    """Share of short windows that are decoded again at full context."""
    load_s: float
    """Seconds from a process's start until it is ready, with the model's files on the disk."""
    priority_thread: bool = True
    """True if a CPU slot has a priority thread, as the service has."""

    def limits(self) -> Mapping[Stage, BatchLimit]:
        """Return the batch limits of the service itself."""
        return batch_limits(Settings(), on_gpu=self.on_gpu)

    def seconds(self, stage: Stage, n_frames: int, n_windows: int) -> float:
        """Return the duration of a call: linear inter- and extrapolation by length and by number of windows."""
        by_number: dict[int, list[tuple[float, float]]] = {}
        for cost in self.calls:
            if cost.stage is stage:
                by_number.setdefault(cost.n_windows, []).append((cost.n_frames, cost.seconds))
        points = [(float(n), _line(sorted(costs), n_frames)) for n, costs in sorted(by_number.items())]
        return _line(points, n_windows)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        calls = tuple(Cost(**cost | {"stage": Stage(cost["stage"])}) for cost in data["calls"])
        return cls(**{**data, "calls": calls, "spread": tuple(data["spread"])})

    @classmethod
    def load(cls, path: Path) -> Self:
        return cls.from_json(json.loads(path.read_text(encoding="utf-8")))


def _line(points: list[tuple[float, float]], x: float) -> float:
    """Return the value at x on the lines through the points, sorted by x. A single point is a constant."""
    if len(points) == 1:
        return points[0][1]
    at = min(max(bisect_left([point[0] for point in points], x), 1), len(points) - 1)
    (x0, y0), (x1, y1) = points[at - 1], points[at]
    return max(y0 + (y1 - y0) * (x - x0) / (x1 - x0), 0.0)


def assumed_gpu() -> Costs:
    """Return assumed costs of Whisper large-v3 on one large GPU, in the proportions of published figures."""
    encode = [Cost(Stage.ENCODE, 3000, n, 0.006 + 0.009 * n) for n in (1, 8)]
    short = [Cost(Stage.ENCODE, 1000, n, 0.004 + 0.003 * n) for n in (1, 8)]
    generate = [
        Cost(Stage.GENERATE, frames, n, tokens * (0.006 + 0.0004 * n))
        for frames, tokens in ((1000, 20), (3000, 90))
        for n in (1, 16)
    ]
    return Costs(
        source="assumed, no GPU was measured: encode 15 ms and 9 ms more a window, a decoding step 6 ms and 0.4 ms a "
        "window, 90 steps for 30 s",
        on_gpu=True,
        threads=1,
        cores=4,
        calls=(*encode, *short, *generate),
        crowding=1.0,
        spread=(0.7, 0.85, 0.95, 1.0, 1.05, 1.15, 1.3),
        before_fixed_s=0.03,
        before_per_audio_s=0.006,
        hop_s=0.001,
        coalesce_wait_s=0.0,
        redone=0.03,
        load_s=20.0,
    )
