"""The operations of the sweeper in SQLite."""

import sqlite3
from collections.abc import Collection, Sequence
from typing import Final

from asr_service.jobs.records import MAX_ATTEMPTS, OPEN, Job, JobStatus, new_job_id
from asr_service.jobs.store import Counts
from asr_service.jobs.stores.damage import DAMAGED, is_damaged
from asr_service.jobs.stores.rules import RUNNER_LOST
from asr_service.jobs.stores.sqlite.database import Database
from asr_service.jobs.stores.sqlite.rows import end_job, job_of, put_back

_ENDED: Final = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)
_MAX_OLD: Final = 1000
"""How many jobs of each kind one call expires or deletes, in a tenth of a second. The next sweep continues."""


class SweeperOperations(Database):
    def requeue_lapsed(self, now: float, *, retry_delays_s: Sequence[float], expires_at: float) -> Sequence[Job]:
        lapsed = "SELECT * FROM jobs WHERE status = ? AND lease_until < ?"
        with self._reading() as db:
            if db.execute(lapsed, (JobStatus.RUNNING, now)).fetchone() is None:
                return []
        with self._transaction() as db:
            changed = []
            for found in db.execute(lapsed, (JobStatus.RUNNING, now)).fetchall():
                if is_damaged(job_of(found)):
                    end_job(db, found, JobStatus.FAILED, now, expires_at, DAMAGED)
                elif found["attempts"] < MAX_ATTEMPTS:
                    not_before = now + retry_delays_s[found["attempts"] - 1]
                    changed.append(put_back(db, found, None, not_before, RUNNER_LOST))
                else:
                    changed.append(end_job(db, found, JobStatus.FAILED, now, expires_at, RUNNER_LOST))
            return changed

    def expire(self, now: float, forget_before: float) -> Sequence[str]:
        with self._reading() as db:  # most calls find nothing, and a reader does not lock the file
            if _old(db, now, forget_before) == ([], []):
                return []
        with self._transaction() as db:
            ids, forgotten = _old(db, now, forget_before)
            db.executemany(
                "UPDATE jobs SET status = ?, result_bytes = 0 WHERE id = ?", [(JobStatus.EXPIRED, each) for each in ids]
            )
            db.executemany("DELETE FROM jobs WHERE id = ?", [(each,) for each in forgotten])
            return [*ids, *forgotten]

    def ended(self, job_ids: Collection[str]) -> Collection[str]:
        with self._reading() as db:
            is_open = {row["id"] for row in db.execute("SELECT id FROM jobs WHERE status IN (?, ?)", tuple(OPEN))}
            return [each for each in job_ids if each not in is_open]

    def counts(self) -> Counts:
        with self._reading() as db:
            rows = db.execute("SELECT status, sum(n_jobs) AS n FROM totals GROUP BY status").fetchall()
            oldest = db.execute("SELECT min(created_at) FROM jobs WHERE status = ?", (JobStatus.QUEUED,)).fetchone()[0]
        found = {row["status"]: row["n"] for row in rows}
        return Counts({status: found.get(status, 0) for status in JobStatus}, oldest)

    def files_id(self, offered: str = "") -> str:
        if offered:
            with self._transaction() as db:
                db.execute("INSERT OR IGNORE INTO files_place VALUES (1, ?)", (offered,))
        with self._reading() as db:
            found = db.execute("SELECT id FROM files_place").fetchone()
            return str(found["id"]) if found else ""

    def clock_skew_s(self) -> float:
        return 0.0


def _old(db: sqlite3.Connection, now: float, forget_before: float) -> tuple[list[str], list[str]]:
    """Return the ids of the jobs that expire, and of those to be deleted."""
    expired = db.execute(
        "SELECT id FROM jobs WHERE status IN (?, ?, ?) AND expires_at < ? LIMIT ?", (*_ENDED, now, _MAX_OLD)
    )
    ids = [row["id"] for row in expired]
    forgotten = db.execute(
        "SELECT id FROM jobs WHERE status = ? AND expires_at < ? LIMIT ?", (JobStatus.EXPIRED, forget_before, _MAX_OLD)
    )
    return ids, [row["id"] for row in forgotten] + _old_damaged(db, before=2 * forget_before - now)


def _old_damaged(db: sqlite3.Connection, before: float) -> list[str]:
    """Return the ids of damaged records of jobs that were created before a time, which their ids have.

    There are few to look at, because jobs that ended after half of this time are deleted.
    """
    rows = db.execute(
        "SELECT * FROM jobs WHERE id < ? ORDER BY id LIMIT ?", (new_job_id(max(before, 0.0))[:16], _MAX_OLD)
    )
    return [row["id"] for row in rows if is_damaged(job_of(row))]
