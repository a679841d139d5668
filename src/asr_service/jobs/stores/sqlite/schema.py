"""The tables, and their migration."""

import sqlite3
from typing import Final, NamedTuple

from asr_service.errors import ConfigurationError

_MIGRATIONS: Final = (
    """
CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    spec TEXT NOT NULL,                      -- JSON of a JobSpec
    status TEXT NOT NULL,
    is_low INTEGER NOT NULL,                 -- 1 for the priority `low`
    created_at REAL NOT NULL,
    started_at REAL,
    finished_at REAL,
    expires_at REAL,
    claimed_at REAL,                         -- start of the last attempt
    attempts INTEGER NOT NULL DEFAULT 0,
    not_before REAL NOT NULL DEFAULT 0,      -- no attempt starts earlier
    failed_at TEXT,                          -- the runner of the attempt that failed
    runner TEXT,                             -- the runner of this attempt
    lease_token TEXT,                        -- NULL unless the job runs
    lease_until REAL,
    resume_key TEXT,
    audio_s_done REAL NOT NULL DEFAULT 0,
    audio_s_total REAL,
    audio_bytes INTEGER NOT NULL,            -- 0 once the recording is deleted
    result_bytes INTEGER NOT NULL DEFAULT 0,
    error_code TEXT,
    error_message TEXT,
    idempotency_key TEXT,
    idempotency_digest BLOB
) WITHOUT ROWID;
CREATE UNIQUE INDEX jobs_by_idempotency_key ON jobs (owner, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX jobs_by_owner ON jobs (owner, id);
CREATE INDEX jobs_by_claim ON jobs (owner, claimed_at);
CREATE INDEX jobs_by_status ON jobs (status, is_low, created_at);
CREATE TABLE segments (
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    data TEXT NOT NULL,                      -- transcript.codec
    PRIMARY KEY (job_id, number)
) WITHOUT ROWID;
CREATE TABLE deliveries (
    id TEXT PRIMARY KEY,
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    url TEXT NOT NULL,
    event TEXT NOT NULL,
    created_at REAL NOT NULL,
    due_at REAL,                             -- NULL once no attempt follows
    attempts INTEGER NOT NULL DEFAULT 0,
    delivered_at REAL,
    last_status INTEGER,
    last_error TEXT
) WITHOUT ROWID;
CREATE INDEX deliveries_by_job ON deliveries (job_id);
CREATE INDEX deliveries_by_due ON deliveries (due_at) WHERE due_at IS NOT NULL;
""",
)
"""What each version adds to the one before."""
_TOTALS: Final = """
CREATE TABLE totals (                        -- the jobs of an owner in a state, counted by triggers
    owner TEXT NOT NULL,
    status TEXT NOT NULL,
    n_jobs INTEGER NOT NULL,
    n_bytes INTEGER NOT NULL,                -- of recordings and transcripts
    PRIMARY KEY (owner, status)
) WITHOUT ROWID;
INSERT INTO totals SELECT owner, status, count(*), sum(audio_bytes + result_bytes) FROM jobs GROUP BY owner, status;
DROP INDEX IF EXISTS jobs_by_size
"""
_ADD_NEW: Final = (
    "INSERT INTO totals VALUES (new.owner, new.status, 1, new.audio_bytes + new.result_bytes) "
    "ON CONFLICT DO UPDATE SET n_jobs = n_jobs + 1, n_bytes = n_bytes + excluded.n_bytes; "
)
_SUBTRACT_OLD: Final = (
    "UPDATE totals SET n_jobs = n_jobs - 1, n_bytes = n_bytes - old.audio_bytes - old.result_bytes "
    "WHERE owner = old.owner AND status = old.status; "
)


class _Addition(NamedTuple):
    kind: str
    name: str
    rest: str

    @property
    def statement(self) -> str:
        return f"CREATE {self.kind} IF NOT EXISTS {self.name} {self.rest}"


_ADDITIONS: Final = (
    _Addition("INDEX", "jobs_by_turn", "ON jobs (status, is_low, owner, created_at, not_before, failed_at)"),
    _Addition("INDEX", "jobs_by_owner_and_status", "ON jobs (owner, status)"),
    _Addition("INDEX", "jobs_by_expiry", "ON jobs (status, expires_at) WHERE expires_at IS NOT NULL"),
    _Addition("TABLE", "files_place", "(one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL)"),
    _Addition("TRIGGER", "job_inserted", f"AFTER INSERT ON jobs BEGIN {_ADD_NEW}END"),
    _Addition("TRIGGER", "job_deleted", f"AFTER DELETE ON jobs BEGIN {_SUBTRACT_OLD}END"),
    _Addition(
        "TRIGGER",
        "job_updated",
        f"AFTER UPDATE OF owner, status, audio_bytes, result_bytes ON jobs BEGIN {_SUBTRACT_OLD}{_ADD_NEW}END",
    ),
)
"""What a file may lack. It needs no new version, since earlier programs can use the file with it."""


def migrate(connection: sqlite3.Connection, path: str) -> None:
    """Bring the tables to this version. Raises ConfigurationError: a newer version has written them.

    Tables of this version are not changed: the disk may be full, or another program may hold up changes.
    """
    if _is_current(connection):
        return
    connection.execute("BEGIN IMMEDIATE")  # several processes start at once
    try:
        _migrate(connection, path)
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _is_current(connection: sqlite3.Connection) -> bool:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    return version == len(_MIGRATIONS) and names >= {"totals", *(addition.name for addition in _ADDITIONS)}


def _migrate(connection: sqlite3.Connection, path: str) -> None:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(_MIGRATIONS):
        raise ConfigurationError(
            f"{path} is of version {version}, from a newer asr-service. This one reads version {len(_MIGRATIONS)}. Use "
            "the newer one, or set ASR_STATE_DIR to another directory.",
            param="ASR_STATE_DIR",
        )
    for script in _MIGRATIONS[version:]:
        _execute(connection, script)
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'totals'").fetchone() is None:
        _execute(connection, _TOTALS)
    for addition in _ADDITIONS:
        connection.execute(addition.statement)
    connection.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")


def _execute(connection: sqlite3.Connection, script: str) -> None:
    for statement in script.split(";"):
        connection.execute(statement)
