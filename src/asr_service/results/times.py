"""The intervals and time limits of the results' store."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ResultTimes:
    """Times in seconds."""

    timeout_s: float = 1.0
    """Maximum time of one call of the store."""
    pause_s: float = 5.0
    """How long the store is not called after a call has failed."""
    lease_s: float = 10.0
    """Duration of a lease. If its holder dies, one of those that wait takes over after this time."""
    min_poll_s: float = 0.05
    """First time between two looks at the work of another process. It grows."""
    max_poll_s: float = 0.5
    sweep_s: float = 3600.0
    """Interval at which expired values are deleted, even if no request reads them."""
