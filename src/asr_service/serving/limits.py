"""Time-outs and other limits of the processes."""

import math
import resource
from dataclasses import dataclass
from typing import Final, Self

from asr_service.errors import ConfigurationError

_ENOUGH_OPEN_FILES: Final = 65_536
_MAX_CONNECTIONS: Final = 8192
"""More would take hundreds of megabytes and are no use to one slot."""
FILES_OF_A_WORKER: Final = 128
"""Descriptors of a worker without requests, with room for the model's libraries and for health checks."""
_FILES_OF_A_REQUEST: Final = 6
"""Descriptors of a request in addition to its connection: its upload, its decoder process, its key's lease."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Time-outs in seconds, each longer than the one before, so that each part ends before the next one kills it.

    A request gets its 504 before the proxy gives up. A draining worker ends before Gunicorn kills it, Gunicorn before
    systemd kills it, and systemd's time is shorter than the grace period of a Kubernetes pod.
    """

    request_s: float
    """Deadline of a request."""
    proxy_s: float
    """Nginx's proxy_read_timeout."""
    drain_s: float
    """A draining worker ends after this time, even if requests are unfinished."""
    graceful_s: float
    """Gunicorn kills a worker that has not ended."""
    stop_s: float
    """systemd's TimeoutStopSec."""
    pod_s: float
    """Kubernetes' terminationGracePeriodSeconds."""

    @classmethod
    def for_request(cls, request_s: float) -> Self:
        """Derive the time-outs from ASR_REQUEST_TIMEOUT_S."""
        return cls(request_s, *(request_s + margin_s for margin_s in (15, 20, 30, 45, 60)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """Limits that no operator needs to set. Tests use shorter ones."""

    heartbeat_s: int = 30
    """A worker whose event loop has been blocked for this time is replaced."""
    tick_s: float = 0.5
    """Maximum time between two checks of the slots by the master."""
    backoff_first_s: float = 1
    backoff_most_s: float = 60
    """A slot whose worker ended before it was ready is retried after `backoff_first_s`; each failure doubles the time,
    up to `backoff_most_s`."""
    min_uptime_s: float = 60
    """A worker that fails within this time of its start counts as a failed start, even if it was ready."""
    accept_grace_s: float = 0.25
    """A draining slot continues to serve for this time after it removed its socket: a client may have connected just
    before."""
    boot_margin_s: float = 30
    """Time that a reload waits for a worker beyond ASR_MODEL_LOAD_TIMEOUT_S, after which the worker itself gives up."""
    keep_alive_s: int = 75
    """An idle connection is closed after this time. Nginx and most clients keep one for 60 s, so they close it first
    and send no request on a connection that is being closed."""
    head_s: float = 30
    """Maximum time to receive a request line and headers."""
    max_head_bytes: int = 64 * 1024
    """Maximum size of a request line and headers."""
    max_headers: int = 100
    """Maximum headers of one request."""
    max_pipelined: int = 100
    """Maximum requests of one connection that wait for earlier answers; with more the connection is closed."""
    ping_s: float = 20
    """A WebSocket is pinged at this interval. If its client does not answer within the same time, it is closed."""
    unread_s: float = 300
    """A connection whose client reads nothing of its answer for this time is reset."""
    lingering_close_s: float = 2
    """Maximum time of a lingering close: the connection is still read while its client sends. It is long enough for a
    distant client to receive the answer, and short enough to free the socket of a client that never closes."""
    lingering_close_bytes: int = 64 * 1024 * 1024
    """Maximum bytes discarded during a lingering close: half an hour of 16 kHz WAV, from a client that reads only after
    it has sent everything. Discarding takes the worker a few hundredths of a second."""
    drain_s: float | None = None
    """Replaces `Timeouts.drain_s`."""

    def shorten(self, timeouts: Timeouts) -> Timeouts:
        """Return `timeouts` with `drain_s` of these limits, if it is set."""
        if self.drain_s is None:
            return timeouts
        return Timeouts(timeouts.request_s, timeouts.proxy_s, self.drain_s, self.drain_s + 10, math.inf, math.inf)


def raise_open_files() -> None:
    """Raise the limit of open files to what this process may have, for itself and its workers.

    Raises ConfigurationError: that is too little for a worker. It would become ready and fail at its requests.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if hard != resource.RLIM_INFINITY and hard < FILES_OF_A_WORKER:
        raise ConfigurationError(
            f"A process may have {hard} files open here, and a slot needs at least {FILES_OF_A_WORKER}. Raise the hard "
            "limit: LimitNOFILE= in a systemd unit, --ulimit nofile= of a container, or `ulimit -Hn` as root."
        )


def max_connections(max_open_requests: int) -> int:
    """Return how many connections a slot may have. They leave descriptors for the files of all open requests.

    If the limit of open files is low, connections get half of it.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MAX_CONNECTIONS
    reserved = FILES_OF_A_WORKER + _FILES_OF_A_REQUEST * max_open_requests
    return min(max(soft - reserved, soft // 2), _MAX_CONNECTIONS)
