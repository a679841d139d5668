"""The rules that every store of jobs applies: limits, events and errors."""

from typing import Final

from asr_service.errors import JobLimit
from asr_service.jobs.records import JobError, JobStatus, OwnerLimits
from asr_service.webhooks.events import EventType

EVENTS: Final = {
    JobStatus.SUCCEEDED: EventType.SUCCEEDED,
    JobStatus.FAILED: EventType.FAILED,
    JobStatus.CANCELLED: EventType.CANCELLED,
}
"""The event for the webhook of a job that has ended."""
RUNNER_LOST: Final = JobError(
    "runner_lost", "The process that ran this job ended or hung. The service's log has the reason."
)
NEWER_VERSION: Final = JobError(
    "newer_version", "The job waits for a newer version of the service, which has accepted it."
)
NEWER_PAUSE_S: Final = 10.0
"""How long no runner gets such a job after an older version could not run it, so that the next jobs have their turn."""
OTHERS_FIRST_S: Final = 15.0
"""How long a runner does not get a job that has failed on it, so that other runners can try it."""
DAMAGED_PAUSE_S: Final = 600.0
"""How long no runner gets a job whose record a runner could not read."""
DAMAGED_RETENTION_S: Final = 86_400.0
"""After this time the record of a job that has failed because it is damaged expires."""
_LIMIT_RETRY_S: Final = 60.0


def check_limits(n_waiting: int, n_kept: int, n_bytes: int, limits: OwnerLimits) -> None:
    """Raise JobLimit if an owner with `n_kept` jobs, of which `n_waiting` wait, cannot have another one.

    `n_bytes` is the size of all jobs of the owner and of the new recording.
    """
    if n_waiting >= limits.waiting_jobs:
        raise JobLimit(
            f"{n_waiting} jobs wait, which is the limit (ASR_JOBS_MAX_WAITING).", retry_after_s=_LIMIT_RETRY_S
        )
    if n_kept >= limits.kept_jobs:
        raise JobLimit(
            f"{n_kept} jobs are kept, which is the limit (ASR_JOBS_MAX_KEPT). Delete jobs that have ended, or wait "
            "until the oldest are deleted.",
            retry_after_s=_LIMIT_RETRY_S,
        )
    if n_bytes > limits.stored_bytes:
        raise JobLimit(
            f"The recordings and transcripts of the jobs would have more than {limits.stored_bytes} bytes, which is "
            "the limit (ASR_JOBS_MAX_BYTES). Delete jobs that have ended, or wait until others have.",
            retry_after_s=_LIMIT_RETRY_S,
        )
