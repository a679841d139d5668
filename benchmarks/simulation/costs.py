"""What the model's calls cost, as measured once or as assumed: the simulator's only knowledge of a machine."""

import json
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from asr_service.engine.model.stages import Stage
from asr_service.engine.schedule.batch import BatchLimit
from asr_service.engine.sizing import batch_limits
from asr_service.settings import Settings


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of one call with `n_windows` windows of `n_frames` (10 ms each)."""

    stage: Stage
    n_frames: int
    n_windows: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Costs:
    """One slot's machine."""

    source: str
    """Where the figures are from: measured on what, or assumed."""
    on_gpu: bool
    threads: int
    """Calls of the model side by side."""
    cores: int
    """What calls of the model (on a CPU) and the work before them share."""
    calls: tuple[Cost, ...]
    """Of a call that has the machine to itself."""
    crowding: float
    """How much longer a call takes while every thread makes one."""
    spread: tuple[float, ...]
    """How much longer or shorter single windows take to decode than the mean of their length."""
    before_fixed_s: float
    """Processor seconds of a request before its first window: received, decoder started."""
    before_per_audio_s: float
    """And for each second of audio: decoded, searched for speech, made into features."""
    hop_s: float
    """From a call's end until the window's next job is queued."""
    coalesce_wait_s: float
    redone: float
    """Share of short windows that are done again at full context."""
    load_s: float
    """From a process's start to ready, the model's files on the disk."""
    priority_thread: bool = True
    """Whether a CPU slot has a further thread for first words, as the service has."""

    def limits(self) -> Mapping[Stage, BatchLimit]:
        """What the service itself would put in one call."""
        return batch_limits(Settings(_env_file=None), on_gpu=self.on_gpu)

    def seconds(self, stage: Stage, n_frames: int, n_windows: int) -> float:
        """Interpolate in the table, by length and by number; outside of it, go on in a straight line."""
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

    def without_spread(self) -> Self:
        return replace(self, spread=(1.0,))


def _line(points: list[tuple[float, float]], x: float) -> float:
    """The value at x on the lines through the points, which rise in x; one point is a constant."""
    if len(points) == 1:
        return points[0][1]
    at = min(max(bisect_left([point[0] for point in points], x), 1), len(points) - 1)
    (x0, y0), (x1, y1) = points[at - 1], points[at]
    return max(y0 + (y1 - y0) * (x - x0) / (x1 - x0), 0.0)


def assumed_gpu() -> Costs:
    """Whisper large-v3 on one large GPU: assumed, not measured, in the proportions that published figures have."""
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
