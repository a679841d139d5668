"""Records as Redis keeps them: fields and values, which are text."""

from collections.abc import Sequence
from typing import Any

from asr_service.jobs.records import Delivery, Job, JobError, JobStatus, NewJob
from asr_service.jobs.stores.damage import DELIVERY_NUMBERS, JOB_NUMBERS, read_delivery, read_job
from asr_service.jobs.stores.spec import read_spec, write_spec
from asr_service.webhooks.events import EventType


def new_record(new: NewJob, now: float) -> dict[str, object]:
    """Return the record of a job that has just been accepted. Values that are None are absent."""
    return {
        "id": new.id,
        "owner": new.owner,
        "spec": write_spec(new.spec),
        "priority": new.spec.priority.value,
        "webhook_url": new.spec.webhook_url,
        "created_at": now,
        "attempts": 0,
        "audio_s_total": new.audio_s,
        "audio_bytes": new.audio_bytes,
        "result_bytes": 0,
        "idempotency_key": new.idempotency and new.idempotency.key,
        "idempotency_digest": new.idempotency and new.idempotency.digest.hex(),
    }


def job_of(answer: Sequence[str]) -> Job:
    """Return the job of a record, whose fields and values alternate; a failed one if the record is damaged.

    The last value is the id of the record's key.
    """
    given = _pairs(answer)
    return read_job(given["key"], given.get("owner", ""), lambda: _job_of(given))


def _job_of(given: dict[str, str]) -> Job:
    if given["id"] != given["key"]:
        raise ValueError(f"its id is {given['id']!r}")
    error = JobError(given["error_code"], given["error_message"]) if "error_code" in given else None
    spec, is_newer = read_spec(given["spec"])
    return Job(
        id=given["id"],
        owner=given["owner"],
        spec=spec,
        is_newer=is_newer,
        status=JobStatus(given["status"]),
        error=error,
        resume_key=given.get("resume_key"),
        **_converted(given, JOB_NUMBERS),
    )


def delivery_of(answer: Sequence[str]) -> Delivery | None:
    """Return the delivery of a record, whose fields and values alternate; None if it is damaged."""
    given = _pairs(answer)
    return read_delivery(given["key"], lambda: _delivery_of(given))


def _delivery_of(given: dict[str, str]) -> Delivery:
    return Delivery(
        id=given["id"],
        job_id=given["job_id"],
        url=given["url"],
        event=EventType(given["event"]),
        last_error=given.get("last_error"),
        **{"due_at": None} | _converted(given, DELIVERY_NUMBERS),
    )


def key_of(answer: Sequence[str]) -> str:
    """Return the id of a record's key."""
    return answer[-1]


def number_of_attempts(answer: Sequence[str]) -> int:
    """Return the attempts of a job's record that the scripts can use."""
    return int(_pairs(answer)["attempts"])


def _pairs(answer: Sequence[str]) -> dict[str, str]:
    return dict(zip(answer[::2], answer[1::2], strict=True))


def _converted(given: dict[str, str], types: dict[str, type[int] | type[float]]) -> dict[str, Any]:
    return {name: convert(given[name]) for name, convert in types.items() if name in given}
