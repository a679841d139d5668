"""The intervals, delays and time limits of jobs."""

from dataclasses import dataclass
from typing import Final

MAX_WAIT_S: Final = 60
"""How long a request may wait for the end of a job."""
MAX_CLOCK_SKEW_S: Final = 5.0
"""How far the clock of a machine may differ from that of the server with the records."""


@dataclass(frozen=True, slots=True)
class RunnerTimes:
    """The intervals and delays of a runner and a sweeper, in seconds."""

    lease_s: float = 15.0
    """Duration of a lease. A job whose runner does not renew its lease in this time goes to another runner."""
    poll_s: float = 0.5
    """Interval at which a runner looks for a job, and checks that it still holds the leases of running jobs."""
    flush_s: float = 0.25
    """Minimum time between two writes of segments."""
    retry_delays_s: tuple[float, ...] = (5.0, 30.0)
    """Time from a failed attempt to the next: after the first one, after the second one."""
    sweep_s: float = 5.0
    """Interval between two sweeps."""
    settle_s: float = 300.0
    """Time after the start in which no transcript expires, because the clock may not be set yet."""
    worker_poll_s: float = 5.0
    """Interval at which a job worker looks for a job without a message."""
