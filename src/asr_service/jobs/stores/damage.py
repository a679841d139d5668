"""Damaged records: each is one failed job, a delivery that is left out, or the end of the stored segments.

None of them is an error for the others.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import structlog

from asr_service import metrics
from asr_service.engine.request_options import RequestOptions
from asr_service.jobs.records import Delivery, Job, JobError, JobSpec, JobStatus
from asr_service.transcript import Segment, codec

log = structlog.get_logger(__name__)

DAMAGED: Final = JobError(
    "record_damaged", "The record of this job is damaged. Delete the job, and submit its recording again."
)
JOB_NUMBERS: Final = {
    "created_at": float,
    "started_at": float,
    "finished_at": float,
    "expires_at": float,
    "attempts": int,
    "audio_s_done": float,
    "audio_s_total": float,
    "audio_bytes": int,
}
DELIVERY_NUMBERS: Final = {
    "created_at": float,
    "due_at": float,
    "attempts": int,
    "delivered_at": float,
    "last_status": int,
}
"""The fields of records that are numbers, and their types."""
_MAX_NOTED: Final = 1000
_noted: set[str] = set()
"""Records whose damage this process has logged. The log has each of them once."""


def read_job(job_id: str, owner: str, read: Callable[[], Job]) -> Job:
    """Return the job that `read` returns or, if its record is damaged, a failed job in its place."""
    try:
        job = read()
        _check_numbers(job, JOB_NUMBERS)
    except (ValueError, KeyError, TypeError) as error:
        _note("job", job_id, error)
        created_at = _created_at(job_id)
        spec = JobSpec(RequestOptions())
        return Job(job_id, owner, spec, JobStatus.FAILED, created_at, finished_at=created_at, error=DAMAGED)
    return job


def is_damaged(job: Job) -> bool:
    """Return True if the record of the job is damaged."""
    return job.error is DAMAGED


def read_delivery(delivery_id: str, read: Callable[[], Delivery]) -> Delivery | None:
    """Return the delivery that `read` returns; None if its record is damaged."""
    try:
        delivery = read()
        _check_numbers(delivery, DELIVERY_NUMBERS)
    except (ValueError, KeyError, TypeError) as error:
        _note("delivery", delivery_id, error)
        return None
    return delivery


def read_segments(job_id: str, stored: Sequence[str], start: int = 0) -> tuple[Segment, ...]:
    """Return the stored segments of a job, whose first has the number `start`, up to the first that is damaged.

    A run that continues after them replaces all that follow.
    """
    found: list[Segment] = []
    for number, data in enumerate(stored, start):
        try:
            found.append(_segment(data, number))
        except (ValueError, TypeError) as error:
            _note("segment", job_id, error)
            break
    return tuple(found)


def _segment(data: str, number: int) -> Segment:
    segment = codec.decode_segment(data)
    if segment.id != number:
        raise ValueError(f"the segment {number} has the number {segment.id}")
    return segment


def _check_numbers(record: Job | Delivery, names: Iterable[str]) -> None:
    for name in names:
        value = getattr(record, name)
        if value is not None and not (isinstance(value, int | float) and math.isfinite(value)):
            raise ValueError(f"{name} is {value!r}")


def _note(kind: str, record_id: str, error: Exception) -> None:
    if record_id in _noted:
        return
    if len(_noted) >= _MAX_NOTED:
        _noted.clear()
    _noted.add(record_id)
    metrics.DAMAGED_RECORDS.labels(kind).inc()
    log.error("a record is damaged", kind=kind, id=record_id, reason=repr(error)[:300])


def _created_at(job_id: str) -> float:
    """Return the time in an id (`records.new_job_id`); 0 if it has none."""
    try:
        return int(job_id.removeprefix("job_")[:12], 16) / 1000
    except ValueError:
        return 0.0
