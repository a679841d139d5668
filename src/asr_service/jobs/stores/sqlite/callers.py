"""The operations of the API's callers in SQLite."""

import sqlite3
from collections.abc import Sequence

from asr_service.jobs.records import OPEN, Job, JobPriority, JobStatus, NewJob, OwnerLimits
from asr_service.jobs.store import Created
from asr_service.jobs.stores.damage import is_damaged
from asr_service.jobs.stores.rules import check_limits
from asr_service.jobs.stores.spec import write_spec
from asr_service.jobs.stores.sqlite.database import Database
from asr_service.jobs.stores.sqlite.rows import end_job, find_job, has_changed, job_of, set_result
from asr_service.results.outcomes import idempotency_conflict


class CallerOperations(Database):
    def create(self, new: NewJob, limits: OwnerLimits, now: float) -> Created:
        with self._transaction() as db:
            if new.idempotency and (earlier := _by_key(db, new.owner, new.idempotency.key)):
                if is_damaged(job := job_of(earlier)):
                    db.execute("UPDATE jobs SET idempotency_key = NULL WHERE id = ?", (job.id,))
                elif earlier["idempotency_digest"] != new.idempotency.digest:
                    raise idempotency_conflict()
                else:
                    return Created(job, is_replayed=True)
            _check_limits(db, new.owner, new.audio_bytes, limits)
            row = {
                "id": new.id,
                "owner": new.owner,
                "spec": write_spec(new.spec),
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
            if new.result:
                set_result(db, new.id, new.result.audio_s, new.result.result_bytes)
                db.execute("UPDATE jobs SET started_at = ? WHERE id = ?", (now, new.id))
                end_job(db, find_job(db, new.id), JobStatus.SUCCEEDED, now, new.result.expires_at)
            return Created(job_of(find_job(db, new.id)), is_replayed=False)

    def find_replay(self, owner: str, key: str) -> Job | None:
        with self._reading() as db:
            found = _by_key(db, owner, key)
            return job_of(found) if found else None

    def get(self, job_id: str) -> Job | None:
        with self._reading() as db:
            found = db.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
            return job_of(found) if found else None

    def list(self, owner: str, *, status: JobStatus | None, after: str | None, limit: int) -> Sequence[Job]:
        conditions = ["owner = :owner"]
        conditions += [] if status is None else ["status = :status"]
        conditions += [] if after is None else ["id < :after"]
        with self._reading() as db:
            rows = db.execute(
                f"SELECT * FROM jobs WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT :limit",  # noqa: S608 - constant text
                {"owner": owner, "status": status, "after": after, "limit": limit},
            )
            return [job_of(row) for row in rows]

    def segments(self, job_id: str, start: int = 0) -> Sequence[str]:
        with self._reading() as db:
            rows = db.execute(
                "SELECT data FROM segments WHERE job_id = ? AND number >= ? ORDER BY number", (job_id, start)
            )
            return [row["data"] for row in rows]

    def cancel(self, job_id: str, now: float, expires_at: float) -> Job | None:
        with self._transaction() as db:
            found = db.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
            if found is None or found["status"] not in OPEN or is_damaged(job_of(found)):
                return None
            return end_job(db, found, JobStatus.CANCELLED, now, expires_at)

    def delete(self, job_id: str) -> bool:
        with self._transaction() as db:
            found = db.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
            if found is None or job_of(found).is_open:
                return False
            return has_changed(db.execute("DELETE FROM jobs WHERE id = ?", (job_id,)))

    def check_limits(self, owner: str, limits: OwnerLimits) -> None:
        with self._reading() as db:
            _check_limits(db, owner, 0, limits)


def _by_key(db: sqlite3.Connection, owner: str, key: str) -> sqlite3.Row | None:
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM jobs WHERE owner = ? AND idempotency_key = ?", (owner, key)
    ).fetchone()
    return row


def _check_limits(db: sqlite3.Connection, owner: str, audio_bytes: int, limits: OwnerLimits) -> None:
    n_waiting, n_kept, n_bytes = db.execute(
        "SELECT coalesce(sum(n_jobs) FILTER (WHERE status = ?), 0), coalesce(sum(n_jobs), 0), "
        "coalesce(sum(n_bytes), 0) FROM totals WHERE owner = ?",
        (JobStatus.QUEUED, owner),
    ).fetchone()
    check_limits(n_waiting, n_kept, n_bytes + audio_bytes, limits)
