"""Sample the memory and file descriptors of the service's processes, and compute their trend over the requests."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Self

import numpy as np
import psutil

from benchmarks.common.stack import SLOTS, Stack, decoder_server

MAX_MB_PER_100_REQUESTS = 1.0

_MB = 1e6
_EVERY_S = 1.0
_SERIES_STEP = 30
_MIN_POINTS = 3


@dataclass(frozen=True, slots=True)
class Sample:
    """What one process held at one moment."""

    n_requests: int
    """Requests answered until then."""
    rss_mb: float
    descriptors: int


@dataclass(frozen=True, slots=True)
class Trend:
    """How the resources of one process changed after the warm-up."""

    role: str
    first_mb: float
    """Median of the first fifth of the samples."""
    last_mb: float
    """Median of the last fifth of the samples."""
    most_mb: float
    slope_mb: float
    """Growth in MB per 100 requests, by least squares."""
    error_mb: float
    """Standard error of the slope."""
    first_descriptors: float
    last_descriptors: float

    @property
    def ok(self) -> bool:
        return self.slope_mb < MAX_MB_PER_100_REQUESTS


def slope(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float]:
    """Fit a line by least squares. Returns its slope and the slope's standard error.

    The standard error assumes independent samples. It is too small where consecutive samples are correlated.
    Raises ValueError: when there are fewer than three points, or all have the same x.
    """
    x, y = np.asarray(xs, np.float64), np.asarray(ys, np.float64)
    spread = float(((x - x.mean()) ** 2).sum()) if len(x) else 0.0
    if len(x) < _MIN_POINTS or not spread:
        raise ValueError("A slope needs three points with different x.")
    gain = float(((x - x.mean()) * (y - y.mean())).sum()) / spread
    rest = y - y.mean() - gain * (x - x.mean())
    return gain, float(np.sqrt((rest**2).sum() / (len(x) - 2) / spread))


def trend(role: str, samples: Sequence[Sample]) -> Trend:
    """Compute the trend of one process. Raises ValueError: when there are too few samples."""
    gain, error = slope([each.n_requests / 100 for each in samples], [each.rss_mb for each in samples])
    fifth = max(1, len(samples) // 5)
    first, last = samples[:fifth], samples[-fifth:]
    return Trend(
        role,
        median(each.rss_mb for each in first),
        median(each.rss_mb for each in last),
        max(each.rss_mb for each in samples),
        gain,
        error,
        median(each.descriptors for each in first),
        median(each.descriptors for each in last),
    )


class Watch:
    """Samples each process once per second for the duration of a `with` block."""

    def __init__(self, stack: Stack) -> None:
        self._pids = _roles(stack)
        self._samples: dict[str, list[Sample]] = {role: [] for role in self._pids}
        self._n_requests = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def set_answered(self, n_requests: int) -> None:
        """Set the number of requests answered so far."""
        self._n_requests = n_requests

    def trends(self, from_request: int) -> list[Trend]:
        """Compute the trends over the samples taken after the first `from_request` requests.

        Raises ValueError: when there are too few samples.
        """
        after = {
            role: [each for each in samples if each.n_requests >= from_request]
            for role, samples in self._samples.items()
        }
        return [trend(role, samples) for role, samples in after.items()]

    def series(self) -> dict[str, list[tuple[int, float]]]:
        """Return for each process the requests answered and the MB held, every half minute and at the end."""
        return {
            role: [(each.n_requests, round(each.rss_mb, 1)) for each in [*samples[:-1:_SERIES_STEP], *samples[-1:]]]
            for role, samples in self._samples.items()
        }

    def exited(self) -> list[str]:
        """Return the roles whose process no longer exists."""
        return [role for role, pid in self._pids.items() if not psutil.pid_exists(pid)]

    def _run(self) -> None:
        while not self._ended.wait(_EVERY_S):
            for role, pid in self._pids.items():
                sample = _sample(pid, self._n_requests)
                if sample is not None:
                    self._samples[role].append(sample)


def _roles(stack: Stack) -> Mapping[str, int]:
    roles = {"master": stack.service.pid}
    for slot in SLOTS:
        worker = stack.worker(slot)
        roles |= {f"worker {slot}": worker, f"decoder server {slot}": decoder_server(worker)}
    nginx = psutil.Process(stack.nginx.pid).children()
    return roles | {"Nginx": stack.nginx.pid} | {f"Nginx worker {n}": each.pid for n, each in enumerate(nginx)}


def _sample(pid: int, n_requests: int) -> Sample | None:
    try:
        rss = psutil.Process(pid).memory_info().rss
        return Sample(n_requests, rss / _MB, len(list(Path(f"/proc/{pid}/fd").iterdir())))
    except (psutil.NoSuchProcess, OSError):
        return None
