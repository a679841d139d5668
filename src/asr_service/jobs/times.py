"""How often jobs are looked at."""

from dataclasses import dataclass
from typing import Final

MAX_WAIT_S: Final = 60
"""How long a request may wait for the end of a job."""


@dataclass(frozen=True, slots=True)
class RunnerTimes:
    """How often a runner looks at the store, in seconds."""

    lease_s: float = 15.0
    """How long a job is left to a runner that says nothing."""
    poll_s: float = 0.5
    """Time between two looks: for a job, and whether the lease of one that runs is still held."""
    flush_s: float = 0.25
    """Minimum time between two writes of segments."""
    retry_delays_s: tuple[float, ...] = (5.0, 30.0)
    """Time from a failed attempt to the next: after the first one, after the second one."""
    sweep_s: float = 5.0
    """Time between two looks at what was left behind."""
