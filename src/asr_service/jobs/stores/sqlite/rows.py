"""Rows of the tables as records, and the changes that several operations share."""

import sqlite3
from typing import Any, Final

from asr_service.jobs.records import Delivery, Job, JobError, JobStatus, new_delivery_id
from asr_service.jobs.stores.damage import read_delivery, read_job
from asr_service.jobs.stores.rules import EVENTS
from asr_service.jobs.stores.spec import read_spec
from asr_service.webhooks.events import EventType

HELD: Final = "id = ? AND lease_token = ?"
"""The condition that a job is leased with a token."""


def job_of(row: sqlite3.Row) -> Job:
    """Return the job of a row; a failed one in its place if the row is damaged."""
    return read_job(row["id"], row["owner"], lambda: _job_of(row))


def _job_of(row: sqlite3.Row) -> Job:
    values: dict[str, Any] = {name: row[name] for name in _COPIED}
    error = None if row["error_code"] is None else JobError(row["error_code"], row["error_message"])
    spec, is_newer = read_spec(row["spec"])
    return Job(**values, spec=spec, is_newer=is_newer, status=JobStatus(row["status"]), error=error)


_COPIED: Final = tuple(name for name in Job.__dataclass_fields__ if name not in {"spec", "is_newer", "status", "error"})


def delivery_of(row: sqlite3.Row) -> Delivery | None:
    """Return the delivery of a row; None if it is damaged."""
    return read_delivery(row["id"], lambda: _delivery_of(row))


def _delivery_of(row: sqlite3.Row) -> Delivery:
    values: dict[str, Any] = {name: row[name] for name in Delivery.__dataclass_fields__ if name != "event"}
    return Delivery(**values, event=EventType(row["event"]))


def has_changed(cursor: sqlite3.Cursor) -> bool:
    return cursor.rowcount > 0


def find_job(db: sqlite3.Connection, job_id: str) -> sqlite3.Row:
    row: sqlite3.Row = db.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
    return row


def find_held(db: sqlite3.Connection, job_id: str, token: str) -> sqlite3.Row | None:
    row: sqlite3.Row | None = db.execute(f"SELECT * FROM jobs WHERE {HELD}", (job_id, token)).fetchone()  # noqa: S608
    return row


def set_result(db: sqlite3.Connection, job_id: str, audio_s: float, result_bytes: int) -> None:
    db.execute(
        "UPDATE jobs SET audio_s_done = ?, audio_s_total = ?, result_bytes = ? WHERE id = ?",
        (audio_s, audio_s, result_bytes, job_id),
    )


def end_job(
    db: sqlite3.Connection,
    row: sqlite3.Row,
    status: JobStatus,
    now: float,
    expires_at: float,
    error: JobError | None = None,
) -> Job:
    """End a job: release its lease, forget its segments, and write the event for its webhook."""
    db.execute(
        "UPDATE jobs SET status = ?, finished_at = ?, expires_at = ?, lease_token = NULL, lease_until = NULL, "
        "audio_bytes = 0, error_code = ?, error_message = ? WHERE id = ?",
        (status, now, expires_at, error and error.code, error and error.message, row["id"]),
    )
    db.execute("DELETE FROM segments WHERE job_id = ?", (row["id"],))
    job = job_of(find_job(db, row["id"]))
    if job.spec.webhook_url is not None:
        db.execute(
            "INSERT INTO deliveries (id, job_id, url, event, created_at, due_at) VALUES (?, ?, ?, ?, ?, ?)",
            (new_delivery_id(), job.id, job.spec.webhook_url, EVENTS[status], now, now),
        )
    return job


def put_back(
    db: sqlite3.Connection, row: sqlite3.Row, failed_at: str | None, not_before: float, error: JobError
) -> Job:
    """Put a job back after a failed attempt, whose error the caller can see while it waits."""
    db.execute(
        "UPDATE jobs SET status = ?, not_before = ?, failed_at = ?, lease_token = NULL, lease_until = NULL, "
        "error_code = ?, error_message = ? WHERE id = ?",
        (JobStatus.QUEUED, not_before, failed_at, error.code, error.message, row["id"]),
    )
    return job_of(find_job(db, row["id"]))
