"""The operations of runners in SQLite: leases, and what a lease's holder may change."""

import secrets
import sqlite3
from collections.abc import Sequence
from typing import Final

from asr_service.jobs.records import MAX_ATTEMPTS, Claim, JobError, JobStatus
from asr_service.jobs.stores.damage import DAMAGED, is_damaged
from asr_service.jobs.stores.rules import (
    DAMAGED_PAUSE_S,
    DAMAGED_RETENTION_S,
    NEWER_PAUSE_S,
    NEWER_VERSION,
    OTHERS_FIRST_S,
)
from asr_service.jobs.stores.sqlite.database import Database
from asr_service.jobs.stores.sqlite.rows import (
    HELD,
    end_job,
    find_held,
    find_job,
    has_changed,
    job_of,
    put_back,
    set_result,
)

_CLAIMABLE: Final = (
    "status = :queued AND not_before <= :now "
    "AND (failed_at IS NULL OR failed_at <> :runner OR not_before <= :others_first)"
)
_NEXT_OWNER: Final = (
    f"SELECT is_low, owner FROM jobs WHERE {_CLAIMABLE} GROUP BY is_low, owner ORDER BY is_low, "  # noqa: S608 - constant text
    "(SELECT max(claimed_at) FROM jobs AS own WHERE own.owner = jobs.owner), min(created_at), min(id) LIMIT 1"
)
_NEXT_JOB: Final = (
    f"SELECT id FROM jobs WHERE {_CLAIMABLE} AND is_low = :is_low AND owner = :owner "  # noqa: S608 - constant text
    "ORDER BY created_at, id LIMIT 1"
)


class RunnerOperations(Database):
    def claim(self, runner: str, now: float, lease_s: float) -> Claim | None:
        given = {"queued": JobStatus.QUEUED, "runner": runner, "now": now, "others_first": now - OTHERS_FIRST_S}
        with self._reading() as db:  # most calls find nothing, and a reader does not lock the file
            if db.execute(f"SELECT 1 FROM jobs WHERE {_CLAIMABLE} LIMIT 1", given).fetchone() is None:  # noqa: S608
                return None
        with self._transaction() as db:
            turn = db.execute(_NEXT_OWNER, given).fetchone()
            if turn is None:
                return None
            found = db.execute(_NEXT_JOB, given | dict(turn)).fetchone()
            token = secrets.token_hex(16)
            db.execute(
                "UPDATE jobs SET status = ?, attempts = attempts + 1, started_at = coalesce(started_at, ?), "
                "claimed_at = ?, runner = ?, lease_token = ?, lease_until = ? WHERE id = ?",
                (JobStatus.RUNNING, now, now, runner, token, now + lease_s, found["id"]),
            )
            job = job_of(find_job(db, found["id"]))
            if is_damaged(job):
                _set_aside(db, find_job(db, job.id), now)
                return None
            if job.is_newer:
                db.execute("UPDATE jobs SET attempts = attempts - 1 WHERE id = ?", (job.id,))
                put_back(db, find_job(db, job.id), None, now + NEWER_PAUSE_S, NEWER_VERSION)
                return None
            return Claim(job, token)

    def renew(self, job_id: str, token: str, until: float) -> bool:
        with self._transaction() as db:
            return has_changed(
                db.execute(f"UPDATE jobs SET lease_until = ? WHERE {HELD}", (until, job_id, token))  # noqa: S608
            )

    def holds(self, job_id: str, token: str) -> bool:
        with self._reading() as db:
            return db.execute(f"SELECT 1 FROM jobs WHERE {HELD}", (job_id, token)).fetchone() is not None  # noqa: S608

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
            if find_held(db, job_id, token) is None:
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
            found = find_held(db, job_id, token)
            if found is None:
                return False
            set_result(db, job_id, audio_s, result_bytes)
            end_job(db, found, JobStatus.SUCCEEDED, now, expires_at)
            return True

    def fail(self, job_id: str, token: str, now: float, error: JobError, *, expires_at: float) -> bool:
        with self._transaction() as db:
            found = find_held(db, job_id, token)
            if found is None:
                return False
            end_job(db, found, JobStatus.FAILED, now, expires_at, error)
            return True

    def retry(self, job_id: str, token: str, not_before: float, error: JobError, *, counts: bool = True) -> bool:
        with self._transaction() as db:
            found = find_held(db, job_id, token)
            if found is None:
                return False
            if not counts:
                db.execute("UPDATE jobs SET attempts = attempts - 1 WHERE id = ?", (job_id,))
            put_back(db, found, found["runner"], not_before, error)
            return True

    def give_back(self, job_id: str, token: str) -> bool:
        with self._transaction() as db:
            return has_changed(
                db.execute(
                    "UPDATE jobs SET status = ?, attempts = attempts - 1, lease_token = NULL, lease_until = NULL "  # noqa: S608
                    f"WHERE {HELD}",
                    (JobStatus.QUEUED, job_id, token),
                )
            )


def _set_aside(db: sqlite3.Connection, row: sqlite3.Row, now: float) -> None:
    """Put a damaged job back for a while, so that it is not in the way of others, or end it after the last attempt."""
    if row["attempts"] >= MAX_ATTEMPTS:
        end_job(db, row, JobStatus.FAILED, now, now + DAMAGED_RETENTION_S, DAMAGED)
    else:
        put_back(db, row, None, now + DAMAGED_PAUSE_S, DAMAGED)
