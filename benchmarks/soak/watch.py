"""What the processes of the service hold as requests pass, and whether it grows."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Self

import numpy as np
import psutil

from benchmarks.chaos.processes import decoder_server
from benchmarks.common.stack import SLOTS, Stack

BAR_MB_PER_100 = 1.0

_MB = 1e6
_EVERY_S = 1.0
_KEPT_OF = 30


@dataclass(frozen=True, slots=True)
class Held:
    """By one process at one moment."""

    n_requests: int
    """Answered until then."""
    rss_mb: float
    descriptors: int


@dataclass(frozen=True, slots=True)
class Trend:
    """Of one process, after the warm-up."""

    role: str
    first_mb: float
    """Median of the first fifth of what was seen, and of the last."""
    last_mb: float
    most_mb: float
    slope_mb: float
    """MB that each 100 requests add, by least squares."""
    error_mb: float
    """Standard error of the slope."""
    first_descriptors: float
    last_descriptors: float

    @property
    def ok(self) -> bool:
        return self.slope_mb < BAR_MB_PER_100


def slope(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float]:
    """Least squares: what `ys` gain for each 1 of `xs`, and the standard error of that.

    The error takes neighbours for independent, so that it is too small where what is held comes and goes slowly.
    Raises ValueError: fewer than three points, or all at one place.
    """
    x, y = np.asarray(xs, np.float64), np.asarray(ys, np.float64)
    spread = float(((x - x.mean()) ** 2).sum()) if len(x) else 0.0
    if len(x) < 3 or not spread:
        raise ValueError("a slope needs three points at different places")
    gain = float(((x - x.mean()) * (y - y.mean())).sum()) / spread
    rest = y - y.mean() - gain * (x - x.mean())
    return gain, float(np.sqrt((rest**2).sum() / (len(x) - 2) / spread))


def trend(role: str, held: Sequence[Held]) -> Trend:
    """Raises ValueError: too little was seen."""
    gain, error = slope([each.n_requests / 100 for each in held], [each.rss_mb for each in held])
    fifth = max(1, len(held) // 5)
    first, last = held[:fifth], held[-fifth:]
    return Trend(
        role,
        median(each.rss_mb for each in first),
        median(each.rss_mb for each in last),
        max(each.rss_mb for each in held),
        gain,
        error,
        median(each.descriptors for each in first),
        median(each.descriptors for each in last),
    )


class Watch:
    """Looks at each process once a second, from the beginning to the end of a `with` block."""

    def __init__(self, stack: Stack) -> None:
        self._pids = _roles(stack)
        self._seen: dict[str, list[Held]] = {role: [] for role in self._pids}
        self._n_requests = 0
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join()

    def answered(self, n_requests: int) -> None:
        self._n_requests = n_requests

    def trends(self, from_request: int) -> list[Trend]:
        """Leaves out what was seen before so many were answered. Raises ValueError: that leaves too little."""
        after = {role: [each for each in seen if each.n_requests >= from_request] for role, seen in self._seen.items()}
        return [trend(role, held) for role, held in after.items()]

    def series(self) -> dict[str, list[tuple[int, float]]]:
        """By role: requests answered and MB held, every half minute and at the end."""
        return {
            role: [(each.n_requests, round(each.rss_mb, 1)) for each in [*seen[:-1:_KEPT_OF], *seen[-1:]]]
            for role, seen in self._seen.items()
        }

    def ended(self) -> list[str]:
        """Roles whose process is no more."""
        return [role for role, pid in self._pids.items() if not psutil.pid_exists(pid)]

    def _run(self) -> None:
        while not self._enough.wait(_EVERY_S):
            for role, pid in self._pids.items():
                held = _held(pid, self._n_requests)
                if held is not None:
                    self._seen[role].append(held)


def _roles(stack: Stack) -> Mapping[str, int]:
    roles = {"master": stack.service.pid}
    for slot in SLOTS:
        worker = stack.worker(slot)
        roles |= {f"worker {slot}": worker, f"decoder server {slot}": decoder_server(worker)}
    nginx = psutil.Process(stack.nginx.pid).children()
    return roles | {"Nginx": stack.nginx.pid} | {f"Nginx worker {n}": each.pid for n, each in enumerate(nginx)}


def _held(pid: int, n_requests: int) -> Held | None:
    try:
        rss = psutil.Process(pid).memory_info().rss
        return Held(n_requests, rss / _MB, len(list(Path(f"/proc/{pid}/fd").iterdir())))
    except (psutil.NoSuchProcess, OSError):
        return None
