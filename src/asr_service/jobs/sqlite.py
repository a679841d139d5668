"""The default store of jobs: one SQLite file, which all processes of a machine share."""

import contextlib
import secrets
import sqlite3
import threading
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import structlog
from pydantic import TypeAdapter

from asr_service.errors import ConfigurationError, IdempotencyConflict, JobLimit, Unavailable
from asr_service.jobs.records import (
    MAX_ATTEMPTS,
    OPEN,
    Claim,
    Delivery,
    Job,
    JobError,
    JobPriority,
    JobSpec,
    JobStatus,
    NewJob,
    OwnerLimits,
    new_delivery_id,
)
from asr_service.jobs.schema import migrate
from asr_service.jobs.store import Counts, Created
from asr_service.webhooks.events import EventType

log = structlog.get_logger(__name__)

_BUSY_TIMEOUT_S: Final = 10.0
_SPEC: Final = TypeAdapter(JobSpec)
_EVENTS: Final = {
    JobStatus.SUCCEEDED: EventType.SUCCEEDED,
    JobStatus.FAILED: EventType.FAILED,
    JobStatus.CANCELLED: EventType.CANCELLED,
}
_OPEN: Final = tuple(sorted(OPEN))
_RUNNER_LOST: Final = JobError(
    "runner_lost", "The process that ran this job ended or hung. The service's log has the reason."
)
_LIMIT_RETRY_S: Final = 60.0
_OTHERS_FIRST_S: Final = 15.0
"""How long a runner does not get a job that has failed on it, so that other runners can try it."""


class SqliteJobStore:
    """Implements `JobStore`. One connection, used by one thread at a time.

    `synchronous=FULL` in WAL mode: a transaction that has returned survives the loss of power.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, or make it. Raises ConfigurationError: it cannot be used, or is of a newer version."""
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            try:
                self._connection.row_factory = sqlite3.Row
                for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
                    self._connection.execute(f"PRAGMA {pragma}")
                migrate(self._connection, str(path))
            except BaseException:
                self._connection.close()
                raise
        except sqlite3.Error as error:
            raise ConfigurationError(
                f"{path} cannot be used: {error}. Set ASR_STATE_DIR to a directory on a local disk.",
                param="ASR_STATE_DIR",
            ) from error

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    # -- for callers of the API

    def create(self, new: NewJob, limits: OwnerLimits, now: float) -> Created:
        with self._transaction() as db:
            if new.idempotency and (earlier := _by_key(db, new.owner, new.idempotency.key)):
                if earlier["idempotency_digest"] != new.idempotency.digest:
                    raise IdempotencyConflict(
                        "This Idempotency-Key was used with another recording or other fields. Use a new one for a new "
                        "request.",
                        param="Idempotency-Key",
                    )
                return Created(_job(earlier), is_replayed=True)
            _check_limits(db, new.owner, new.audio_bytes, limits)
            row = {
                "id": new.id,
                "owner": new.owner,
                "spec": _SPEC.dump_json(new.spec).decode(),
                "status": JobStatus.QUEUED,
                "is_low": new.spec.priority is JobPriority.LOW,
                "created_at": now,
                "audio_bytes": new.audio_bytes,
                "audio_s_total": new.audio_s,
                "idempotency_key": new.idempotency and new.idempotency.key,
                "idempotency_digest": new.idempotency and new.idempotency.digest,
            }
            columns, values = ", ".join(row), ", ".join(f":{name}" for name in row)
            db.execute(f"INSERT INTO jobs ({columns}) VALUES ({values})", row)  # noqa: S608 - names of columns
            return Created(_job(_row(db, new.id)), is_replayed=False)

    def find_replay(self, owner: str, key: str) -> Job | None:
        with self._reading() as db:
            found = _by_key(db, owner, key)
            return _job(found) if found else None

    def get(self, job_id: str) -> Job | None:
        with self._reading() as db:
            found = db.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
            return _job(found) if found else None

    def list(self, owner: str, *, status: JobStatus | None, after: str | None, limit: int) -> Sequence[Job]:
        with self._reading() as db:
            rows = db.execute(
                "SELECT * FROM jobs WHERE owner = :owner AND (:status IS NULL OR status = :status) "
                "AND (:after IS NULL OR id < :after) ORDER BY id DESC LIMIT :limit",
                {"owner": owner, "status": status, "after": after, "limit": limit},
            )
            return [_job(row) for row in rows]

    def segments(self, job_id: str, start: int = 0) -> Sequence[str]:
        with self._reading() as db:
            rows = db.execute(
                "SELECT data FROM segments WHERE job_id = ? AND number >= ? ORDER BY number", (job_id, start)
            )
            return [row["data"] for row in rows]

    def cancel(self, job_id: str, now: float, expires_at: float) -> Job | None:
        with self._transaction() as db:
            found = db.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
            if found is None or found["status"] not in OPEN:
                return None
            return _end(db, found, JobStatus.CANCELLED, now, expires_at)

    def delete(self, job_id: str) -> bool:
        with self._transaction() as db:
            return _changed(
                db.execute("DELETE FROM jobs WHERE id = ? AND status NOT IN (?, ?)", (job_id, *_OPEN)),
            )

    def check_limits(self, owner: str, limits: OwnerLimits) -> None:
        with self._reading() as db:
            _check_limits(db, owner, 0, limits)

    def deliveries(self, job_id: str) -> Sequence[Delivery]:
        with self._reading() as db:
            rows = db.execute("SELECT * FROM deliveries WHERE job_id = ? ORDER BY created_at, id", (job_id,))
            return [_delivery(row) for row in rows]

    # -- for runners

    def claim(self, runner: str, now: float, lease_s: float) -> Claim | None:
        given = {"queued": JobStatus.QUEUED, "runner": runner, "now": now, "others_first": now - _OTHERS_FIRST_S}
        with self._reading() as db:  # most calls find nothing, and a reader does not lock the file
            if db.execute(f"SELECT 1 FROM jobs WHERE {_CLAIMABLE} LIMIT 1", given).fetchone() is None:  # noqa: S608
                return None
        with self._transaction() as db:
            found = db.execute(
                f"SELECT id FROM jobs WHERE {_CLAIMABLE} ORDER BY is_low, "  # noqa: S608 - constant text
                "(SELECT max(claimed_at) FROM jobs AS own WHERE own.owner = jobs.owner), created_at, id LIMIT 1",
                given,
            ).fetchone()
            if found is None:
                return None
            token = secrets.token_hex(16)
            db.execute(
                "UPDATE jobs SET status = ?, attempts = attempts + 1, started_at = coalesce(started_at, ?), "
                "claimed_at = ?, runner = ?, lease_token = ?, lease_until = ? WHERE id = ?",
                (JobStatus.RUNNING, now, now, runner, token, now + lease_s, found["id"]),
            )
            return Claim(_job(_row(db, found["id"])), token)

    def renew(self, job_id: str, token: str, until: float) -> bool:
        return self._update_held(job_id, token, lease_until=until)

    def holds(self, job_id: str, token: str) -> bool:
        with self._reading() as db:
            return db.execute(f"SELECT 1 FROM jobs WHERE {_HELD}", (job_id, token)).fetchone() is not None  # noqa: S608

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
        with self._transaction() as db:
            if _held(db, job_id, token) is None:
                return False
            db.execute("DELETE FROM segments WHERE job_id = ? AND number >= ?", (job_id, start))
            db.executemany(
                "INSERT INTO segments (job_id, number, data) VALUES (?, ?, ?)",
                [(job_id, number, data) for number, data in enumerate(segments, start)],
            )
            db.execute(
                "UPDATE jobs SET resume_key = ?, audio_s_done = ?, audio_s_total = ? WHERE id = ?",
                (resume_key, audio_s_done, audio_s_total, job_id),
            )
            return True

    def succeed(
        self, job_id: str, token: str, now: float, *, audio_s: float, result_bytes: int, expires_at: float
    ) -> bool:
        with self._transaction() as db:
            found = _held(db, job_id, token)
            if found is None:
                return False
            db.execute(
                "UPDATE jobs SET audio_s_done = ?, audio_s_total = ?, result_bytes = ? WHERE id = ?",
                (audio_s, audio_s, result_bytes, job_id),
            )
            _end(db, found, JobStatus.SUCCEEDED, now, expires_at)
            return True

    def fail(self, job_id: str, token: str, now: float, error: JobError, *, expires_at: float) -> bool:
        with self._transaction() as db:
            found = _held(db, job_id, token)
            if found is None:
                return False
            _end(db, found, JobStatus.FAILED, now, expires_at, error)
            return True

    def retry(self, job_id: str, token: str, not_before: float, error: JobError) -> bool:
        with self._transaction() as db:
            found = _held(db, job_id, token)
            if found is None:
                return False
            _put_back(db, found, found["runner"], not_before, error)
            return True

    def give_back(self, job_id: str, token: str) -> bool:
        with self._transaction() as db:
            return _changed(
                db.execute(
                    "UPDATE jobs SET status = ?, attempts = attempts - 1, lease_token = NULL, lease_until = NULL "  # noqa: S608
                    f"WHERE {_HELD}",
                    (JobStatus.QUEUED, job_id, token),
                )
            )

    # -- for the sender of webhooks

    def claim_delivery(self, now: float, lease_s: float) -> Delivery | None:
        given = {"now": now, "until": now + lease_s}
        with self._reading() as db:  # most calls find nothing, and a reader does not lock the file
            if db.execute("SELECT 1 FROM deliveries WHERE due_at <= :now LIMIT 1", given).fetchone() is None:
                return None
        with self._transaction() as db:
            found = db.execute(
                "UPDATE deliveries SET attempts = attempts + 1, due_at = :until WHERE id = "
                "(SELECT id FROM deliveries WHERE due_at <= :now ORDER BY due_at LIMIT 1) RETURNING *",
                given,
            ).fetchone()
            return _delivery(found) if found else None

    def end_attempt(
        self,
        claimed: Delivery,
        *,
        due_at: float | None,
        delivered_at: float | None,
        status: int | None,
        error: str | None,
    ) -> bool:
        with self._transaction() as db:
            return _changed(
                db.execute(
                    "UPDATE deliveries SET due_at = ?, delivered_at = ?, last_status = ?, last_error = ? "
                    "WHERE id = ? AND attempts = ? AND due_at IS NOT NULL",
                    (due_at, delivered_at, status, error, claimed.id, claimed.attempts),
                )
            )

    # -- for the sweeper

    def requeue_lapsed(self, now: float, *, retry_delays_s: Sequence[float], expires_at: float) -> Sequence[Job]:
        lapsed = "SELECT * FROM jobs WHERE status = ? AND lease_until < ?"
        with self._reading() as db:
            if db.execute(lapsed, (JobStatus.RUNNING, now)).fetchone() is None:
                return []
        with self._transaction() as db:
            changed = []
            for found in db.execute(lapsed, (JobStatus.RUNNING, now)).fetchall():
                if found["attempts"] < MAX_ATTEMPTS:
                    not_before = now + retry_delays_s[found["attempts"] - 1]
                    changed.append(_put_back(db, found, None, not_before, _RUNNER_LOST))
                else:
                    changed.append(_end(db, found, JobStatus.FAILED, now, expires_at, _RUNNER_LOST))
            return changed

    def expire(self, now: float, forget_before: float) -> Sequence[str]:
        with self._transaction() as db:
            due = db.execute("SELECT id FROM jobs WHERE expires_at < ? AND status <> ?", (now, JobStatus.EXPIRED))
            ids = [row["id"] for row in due]
            old = db.execute(
                "SELECT id FROM jobs WHERE expires_at < ? AND status = ?", (forget_before, JobStatus.EXPIRED)
            )
            forgotten = [row["id"] for row in old]
            db.executemany(
                "UPDATE jobs SET status = ?, result_bytes = 0 WHERE id = ?", [(JobStatus.EXPIRED, each) for each in ids]
            )
            db.executemany("DELETE FROM jobs WHERE id = ?", [(each,) for each in forgotten])
            return [*ids, *forgotten]

    def ended(self, job_ids: Collection[str]) -> Collection[str]:
        with self._reading() as db:
            is_open = {row["id"] for row in db.execute("SELECT id FROM jobs WHERE status IN (?, ?)", _OPEN)}
            return [each for each in job_ids if each not in is_open]

    def counts(self) -> Counts:
        with self._reading() as db:
            rows = db.execute("SELECT status, count(*) AS n FROM jobs GROUP BY status").fetchall()
            oldest = db.execute("SELECT min(created_at) FROM jobs WHERE status = ?", (JobStatus.QUEUED,)).fetchone()[0]
        found = {JobStatus(row["status"]): row["n"] for row in rows}
        return Counts({status: found.get(status, 0) for status in JobStatus}, oldest)

    # -- transactions

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise _unavailable(error) from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                    self._connection.execute("COMMIT")
                except BaseException:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise _unavailable(error) from error

    def _update_held(self, job_id: str, token: str, *, lease_until: float) -> bool:
        with self._transaction() as db:
            return _changed(
                db.execute(f"UPDATE jobs SET lease_until = ? WHERE {_HELD}", (lease_until, job_id, token))  # noqa: S608
            )


_CLAIMABLE: Final = (
    "status = :queued AND not_before <= :now "
    "AND (failed_at IS NULL OR failed_at <> :runner OR not_before <= :others_first)"
)
_HELD: Final = "id = ? AND lease_token = ?"


def _unavailable(error: sqlite3.Error) -> Unavailable:
    log.error("the jobs' records cannot be used", error=repr(error))
    return Unavailable("The service cannot store or read jobs at the moment. Try again later.")


def _changed(cursor: sqlite3.Cursor) -> bool:
    return cursor.rowcount > 0


def _row(db: sqlite3.Connection, job_id: str) -> sqlite3.Row:
    row: sqlite3.Row = db.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
    return row


def _held(db: sqlite3.Connection, job_id: str, token: str) -> sqlite3.Row | None:
    row: sqlite3.Row | None = db.execute(f"SELECT * FROM jobs WHERE {_HELD}", (job_id, token)).fetchone()  # noqa: S608
    return row


def _by_key(db: sqlite3.Connection, owner: str, key: str) -> sqlite3.Row | None:
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM jobs WHERE owner = ? AND idempotency_key = ?", (owner, key)
    ).fetchone()
    return row


def _check_limits(db: sqlite3.Connection, owner: str, audio_bytes: int, limits: OwnerLimits) -> None:
    n_waiting, n_bytes = db.execute(
        "SELECT count(*) FILTER (WHERE status = ?), coalesce(sum(audio_bytes + result_bytes), 0) FROM jobs "
        "WHERE owner = ?",
        (JobStatus.QUEUED, owner),
    ).fetchone()
    if n_waiting >= limits.waiting_jobs:
        raise JobLimit(
            f"{n_waiting} jobs wait, which is the limit (ASR_JOBS_MAX_WAITING).", retry_after_s=_LIMIT_RETRY_S
        )
    if n_bytes + audio_bytes > limits.stored_bytes:
        raise JobLimit(
            f"The recordings and transcripts of the jobs would have more than {limits.stored_bytes} bytes, which is "
            "the limit (ASR_JOBS_MAX_BYTES). Delete jobs that have ended, or wait until others have.",
            retry_after_s=_LIMIT_RETRY_S,
        )


def _end(
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
    job = _job(_row(db, row["id"]))
    if job.spec.webhook_url is not None:
        db.execute(
            "INSERT INTO deliveries (id, job_id, url, event, created_at, due_at) VALUES (?, ?, ?, ?, ?, ?)",
            (new_delivery_id(), job.id, job.spec.webhook_url, _EVENTS[status], now, now),
        )
    return job


def _put_back(
    db: sqlite3.Connection, row: sqlite3.Row, failed_at: str | None, not_before: float, error: JobError
) -> Job:
    """Put a job back after a failed attempt, whose error the caller can see while it waits."""
    db.execute(
        "UPDATE jobs SET status = ?, not_before = ?, failed_at = ?, lease_token = NULL, lease_until = NULL, "
        "error_code = ?, error_message = ? WHERE id = ?",
        (JobStatus.QUEUED, not_before, failed_at, error.code, error.message, row["id"]),
    )
    return _job(_row(db, row["id"]))


def _job(row: sqlite3.Row) -> Job:
    values: dict[str, Any] = {name: row[name] for name in _COPIED}
    error = None if row["error_code"] is None else JobError(row["error_code"], row["error_message"])
    return Job(**values, spec=_SPEC.validate_json(row["spec"]), status=JobStatus(row["status"]), error=error)


_COPIED: Final = tuple(name for name in Job.__dataclass_fields__ if name not in {"spec", "status", "error"})


def _delivery(row: sqlite3.Row) -> Delivery:
    values: dict[str, Any] = {name: row[name] for name in Delivery.__dataclass_fields__ if name != "event"}
    return Delivery(**values, event=EventType(row["event"]))
