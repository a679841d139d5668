"""Every time-out of the process side, and the order that makes each one let the one inside it speak first."""

import math
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds, each longer than the one before: the request answers 504 before the proxy gives up on it, a draining
    worker ends before Gunicorn kills it, Gunicorn before systemd kills that, and all before the pod's grace is over.
    """

    request_s: float
    """A request's own deadline."""
    proxy_s: float
    """Nginx' proxy_read_timeout."""
    drain_s: float
    """A worker that was told to stop ends by then, whatever still runs in it."""
    graceful_s: float
    """Gunicorn kills what has not ended."""
    stop_s: float
    """systemd's TimeoutStopSec."""
    pod_s: float
    """Kubernetes' terminationGracePeriodSeconds."""

    @classmethod
    def for_request(cls, request_s: float) -> Self:
        """Derive the table from ASR_REQUEST_TIMEOUT_S."""
        return cls(request_s, *(request_s + margin_s for margin_s in (15, 20, 30, 45, 60)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """What no operator needs to set: the tests shorten it."""

    heartbeat_s: int = 30
    """A worker whose event loop has stood still for so long is replaced."""
    tick_s: float = 0.5
    """The master looks at its slots at least so often."""
    backoff_first_s: float = 1
    backoff_most_s: float = 60
    """A slot that ended before it was ready waits from the first, doubling, to the most."""
    min_uptime_s: float = 60
    """So does a slot whose workers fail one after the other so soon after their start, ready or not."""
    accept_grace_s: float = 0.25
    """A slot that stops serves on so long after it took its socket away: a client may have connected just before."""
    boot_margin_s: float = 30
    """Past ASR_MODEL_LOAD_TIMEOUT_S, when the worker itself should have given up, a reload no longer waits for it."""
    keep_alive_s: int = 75
    """An idle connection is closed. Longer than the 60 s for which Nginx and most clients keep one, so that they close
    first and no request meets a closing connection."""
    head_s: float = 30
    """A request's first line and headers must have come by then."""
    max_head_bytes: int = 64 * 1024
    """Most bytes of a request's first line and headers."""
    max_headers: int = 100
    """Most headers of a request."""
    max_pipelined: int = 100
    """Most requests of one connection that wait for the answer before theirs; past it the connection is closed."""
    unread_s: float = 300
    """A client that takes nothing of its answer for so long is given up, with what was kept for it."""
    lingering_close_s: float = 2
    """A connection that is closed while its client still sends is read from for so long: enough for a client far away
    to see the answer, and little enough that whoever never looks holds a socket for a moment only."""
    lingering_close_bytes: int = 64 * 1024 * 1024
    """Most that is then thrown away: half an hour of 16 kHz WAV, sent in one go by a client that reads only when all is
    sent, and a few hundredths of a second of the worker's time."""
    drain_s: float | None = None
    """In place of `Timeouts.drain_s`."""

    def shorten(self, timeouts: Timeouts) -> Timeouts:
        if self.drain_s is None:
            return timeouts
        return Timeouts(timeouts.request_s, timeouts.proxy_s, self.drain_s, self.drain_s + 10, math.inf, math.inf)
