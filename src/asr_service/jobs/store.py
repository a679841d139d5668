"""The contract of a store of jobs. `jobs.stores` has the implementations.

The store is the only authority on the state of jobs. Each method is one transaction: when it returns, its change
survives a crash and a power failure, and no caller ever sees a part of it. Methods block for milliseconds, and any
thread may call them.

Times are seconds since the epoch and are passed in, so that a store has no clock of its own.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from asr_service.errors import Unavailable
from asr_service.jobs.records import (
    Claim,
    Delivery,
    Job,
    JobError,
    JobStatus,
    NewJob,
    OwnerLimits,
)


class OutcomeUnknown(Unavailable):
    """The store's answer was lost: the change may have been made, or may be made later."""


@dataclass(frozen=True, slots=True)
class Created:
    """The job of a submission, and whether an earlier submission with the same Idempotency-Key created it."""

    job: Job
    is_replayed: bool


@dataclass(frozen=True, slots=True)
class Counts:
    """How many jobs there are by status, and when the oldest of those that wait was created."""

    by_status: Mapping[JobStatus, int]
    oldest_waiting_at: float | None


class JobStore(Protocol):
    """Every method raises Unavailable: the store cannot be used at the moment."""

    is_shared: ClassVar[bool]
    """Whether several machines may have this store."""

    # -- for callers of the API

    def create(self, new: NewJob, limits: OwnerLimits, now: float) -> Created:
        """Accept a job, once for each Idempotency-Key of an owner. A job with a result has succeeded at once.

        Raises JobLimit: the owner has as much as it may have. Raises IdempotencyConflict: the key has another digest.
        Raises OutcomeUnknown: the job may exist, or may exist later.
        """

    def find_replay(self, owner: str, key: str) -> Job | None:
        """Return the job that was submitted with this Idempotency-Key."""

    def get(self, job_id: str) -> Job | None: ...

    def list(self, owner: str, *, status: JobStatus | None, after: str | None, limit: int) -> Sequence[Job]:
        """Return an owner's jobs, newest first, from the one that follows the job `after`."""

    def segments(self, job_id: str, start: int = 0) -> Sequence[str]:
        """Return the stored segments from number `start` on, encoded by `transcript.codec`. An ended job has none."""

    def cancel(self, job_id: str, now: float, expires_at: float) -> Job | None:
        """End a waiting or running job; its runner loses the lease. Returns None if it has ended or does not exist."""

    def delete(self, job_id: str) -> bool:
        """Delete an ended job. Returns False if it does not exist or has not ended."""

    def check_limits(self, owner: str, limits: OwnerLimits) -> None:
        """Raise JobLimit if the owner cannot have another job."""

    def deliveries(self, job_id: str) -> Sequence[Delivery]:
        """Return the events of a job for its webhook."""

    # -- for runners

    def claim(self, runner: str, now: float, lease_s: float) -> Claim | None:
        """Lease the next job: normal ones first, the owners in turn, each owner's oldest first.

        A runner does not get a job that has failed on it for a while, so that other runners can try that job.
        """

    def renew(self, job_id: str, token: str, until: float) -> bool:
        """Extend a lease. Returns False if it is lost: the runner must stop."""

    def holds(self, job_id: str, token: str) -> bool:
        """Return whether the lease is still held. Cheaper than `renew`."""

    def store_segments(
        self,
        job_id: str,
        token: str,
        start: int,
        segments: Sequence[str],
        *,
        resume_key: str,
        audio_s_done: float,
        audio_s_total: float | None,
    ) -> bool:
        """Replace the segments from number `start` on. Returns False if the lease is lost.

        `resume_key` is stored in the record: only a runner with the same key can continue after these segments.
        """

    def succeed(
        self, job_id: str, token: str, now: float, *, audio_s: float, result_bytes: int, expires_at: float
    ) -> bool:
        """End a job whose transcript is stored. Returns False if the lease is lost."""

    def fail(self, job_id: str, token: str, now: float, error: JobError, *, expires_at: float) -> bool:
        """End a job that cannot succeed. Returns False if the lease is lost."""

    def retry(self, job_id: str, token: str, not_before: float, error: JobError, *, counts: bool = True) -> bool:
        """Put a job back after a failure. Returns False if the lease is lost.

        `counts` is False for an attempt that does not count, because neither the recording nor the runner is at fault.
        """

    def give_back(self, job_id: str, token: str) -> bool:
        """Put a job back that has not failed; its attempt does not count. Returns False if the lease is lost."""

    # -- for the sender of webhooks

    def claim_delivery(self, now: float, lease_s: float) -> Delivery | None:
        """Begin the next attempt that is due, and count it.

        It is due again after `lease_s`, unless `end_attempt` follows.
        """

    def end_attempt(
        self,
        claimed: Delivery,
        *,
        due_at: float | None,
        delivered_at: float | None,
        status: int | None,
        error: str | None,
    ) -> bool:
        """Record the end of an attempt. `due_at` is None if no other follows. Returns False if another has begun."""

    def postpone_attempt(self, claimed: Delivery, due_at: float) -> bool:
        """Undo the beginning of an attempt, so that it does not count. Return False if another attempt has begun."""

    # -- for the sweeper

    def requeue_lapsed(self, now: float, *, retry_delays_s: Sequence[float], expires_at: float) -> Sequence[Job]:
        """Put back the jobs whose leases have lapsed, or fail them after the last attempt. Returns them.

        `retry_delays_s` are the delays before the second and the third attempt.
        """

    def expire(self, now: float, forget_before: float) -> Sequence[str]:
        """Mark the jobs whose retention time is over as expired.

        Deletes the jobs whose retention time ended before `forget_before`. Returns the ids of both: their files are
        no longer needed.
        """

    def ended(self, job_ids: Collection[str]) -> Collection[str]:
        """Return those of the ids that have no open job."""

    def counts(self) -> Counts: ...

    # -- for the store of files

    def files_id(self, offered: str = "") -> str:
        """Return the id of the directory with the files of these jobs.

        If there is none yet, `offered` becomes it; without `offered`, the answer is empty.
        """

    def clock_skew_s(self) -> float:
        """Return how far this machine's clock is ahead of that of the store's server; 0 without a server."""

    def close(self) -> None: ...
