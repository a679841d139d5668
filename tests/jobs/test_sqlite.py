"""The SQLite store as a file."""

import contextlib
import sqlite3
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import pytest
from structlog.testing import capture_logs

from asr_service.errors import ConfigurationError, Unavailable
from asr_service.jobs.records import JobStatus
from asr_service.jobs.stores.sqlite import SqliteJobStore, database
from disks import read_only_disk, small_disk
from jobs.test_store import FAR, add, claim, succeed
from waiting import until

INDEXES = ("jobs_by_turn", "jobs_by_owner_and_status", "jobs_by_expiry")


def test_several_processes_may_make_the_file_at_once(tmp_path):
    """As the slots of a machine do at their first start."""
    with ThreadPoolExecutor(8) as pool:
        stores = list(pool.map(lambda _: SqliteJobStore(tmp_path / "jobs.sqlite3"), range(8)))
    add(stores[0])
    for store in stores:
        store.close()


def test_commits_are_on_the_disk_before_they_return(tmp_path):
    """WAL alone would lose the last ones with the power; FULL syncs each of them."""
    store = SqliteJobStore(tmp_path / "jobs.sqlite3")
    pragmas = [store._writer.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    store.close()
    assert pragmas == ["wal", 2]


@pytest.mark.parametrize("content", [b"not a database, but long enough to look like one" * 100, None])
def test_a_file_that_cannot_be_used_is_an_error_of_the_settings(tmp_path, content):
    """It is damaged, or a newer version has written it."""
    path = tmp_path / "jobs.sqlite3"
    if content is None:
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA user_version = 99")
        connection.close()
    else:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="ASR_STATE_DIR"):
        SqliteJobStore(path)


def test_readers_do_not_wait_while_another_process_holds_up_a_change(tmp_path):
    """Such as a program that copies the file. The change is made afterwards."""
    store = SqliteJobStore(tmp_path / "jobs.sqlite3")
    job = add(store)
    with contextlib.closing(sqlite3.connect(tmp_path / "jobs.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(1) as pool:
            change = pool.submit(add, store)
            until(store._writer_lock.locked, what="the change")
            assert store.get(job.id) == job
            assert not change.done()
            other.execute("ROLLBACK")
            assert store.get(change.result().id) == change.result()
    store.close()


def test_a_change_that_is_held_up_for_long_is_a_503(tmp_path, monkeypatch):
    """By another process, or by another thread that waits for that process: both have the same time."""
    monkeypatch.setattr(database, "_BUSY_TIMEOUT_S", 0.05)
    store = SqliteJobStore(tmp_path / "jobs.sqlite3")
    with contextlib.closing(sqlite3.connect(tmp_path / "jobs.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable):
            add(store)
    with store._writer_lock, pytest.raises(Unavailable):
        add(store)
    add(store)
    store.close()


def fill(store: SqliteJobStore) -> None:
    """Let the file grow no further, as on a full disk, and use what is left of it."""
    pages = store._writer.execute("PRAGMA page_count").fetchone()[0]
    store._writer.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(Unavailable):
        deque((add(store) for _ in range(1000)), maxlen=0)


def test_an_outage_is_logged_once(tmp_path):
    """A runner asks twice a second, and each slot has one. Transactions without a change succeed meanwhile."""
    store = SqliteJobStore(tmp_path / "jobs.sqlite3")
    with capture_logs() as lines:
        fill(store)
        for _ in range(3):
            with pytest.raises(Unavailable):
                add(store)
            assert store.cancel("job_none", 0.0, 0.0) is None
        store._writer.execute("PRAGMA max_page_count = 1000000")
        add(store)
    store.close()
    assert [line["event"] for line in lines] == [
        "the jobs' records cannot be used",
        "the jobs' records can be changed again",
    ]


def test_a_full_disk_is_a_503(tmp_path):
    """The store is used again when there is room."""
    store = SqliteJobStore(tmp_path / "jobs.sqlite3")
    fill(store)
    store._writer.execute("PRAGMA max_page_count = 1000000")
    add(store)
    store.close()


@pytest.mark.parametrize("is_new", [True, False])
def test_a_service_starts_while_the_disk_is_full(tmp_path, is_new):
    """Requests do not need the jobs. The file is opened, or made, by the first operation for which there is room."""
    with small_disk(tmp_path, "300k") as folder:
        path = folder / "jobs.sqlite3"
        if not is_new:
            earlier = SqliteJobStore(path)
            job = add(earlier)
            earlier.close()
        rest = folder / "rest"
        with contextlib.suppress(OSError), rest.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        store = SqliteJobStore(path)
        with pytest.raises(Unavailable):
            add(store)
        rest.unlink()
        if not is_new:
            assert store.get(job.id) == job
        add(store)
        store.close()


def test_a_file_that_cannot_be_written_is_a_mistake_of_the_operator(tmp_path):
    """Such as one of another user after a restore. Here the disk is read-only, because root may write any file."""
    written, read_only = tmp_path / "written", tmp_path / "read-only"
    written.mkdir(), read_only.mkdir()
    with (
        contextlib.closing(SqliteJobStore(written / "jobs.sqlite3")),
        read_only_disk(written, read_only) as folder,
        pytest.raises(ConfigurationError, match=r"jobs\.sqlite3 cannot be used: it cannot be written"),
    ):
        SqliteJobStore(folder / "jobs.sqlite3")


def test_a_service_starts_while_another_program_holds_up_changes(tmp_path, monkeypatch):
    """The jobs can be read meanwhile, and changed afterwards."""
    monkeypatch.setattr(database, "_BUSY_TIMEOUT_S", 0.05)
    path = tmp_path / "jobs.sqlite3"
    earlier = SqliteJobStore(path)
    job = add(earlier)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        store = SqliteJobStore(path)
        assert store.get(job.id) == job
        with pytest.raises(Unavailable):
            add(store)
        other.execute("ROLLBACK")
    add(store)
    store.close()
    earlier.close()


def test_no_operation_reads_all_jobs(tmp_path):
    """Each finds its jobs by an index, also in a file of an earlier version."""
    path = tmp_path / "jobs.sqlite3"
    SqliteJobStore(path).close()
    with contextlib.closing(sqlite3.connect(path)) as earlier:
        for index in INDEXES:
            earlier.execute(f"DROP INDEX IF EXISTS {index}")
    store = SqliteJobStore(path)
    statements: set[str] = set()
    for connection in (store._writer, store._reader):
        connection.set_trace_callback(statements.add)
    add(store, "alice"), add(store, "bob")
    store.list("alice", status=JobStatus.QUEUED, after="job_x", limit=9)
    store.cancel(claim(store, 1.0).job.id, 2.0, 10.0)
    store.requeue_lapsed(3.0, retry_delays_s=(), expires_at=FAR)
    store.expire(11.0, 11.0)
    for connection in (store._writer, store._reader):
        connection.set_trace_callback(None)
    steps = [
        step["detail"]
        for query in statements
        if query.startswith("SELECT")
        for step in store._reader.execute(f"EXPLAIN QUERY PLAN {query}")
    ]
    store.close()
    assert [step for step in steps if step.startswith("SCAN jobs")] == []
    assert [index for index in INDEXES if not any(f" {index} " in step for step in steps)] == []


def _counted(store: SqliteJobStore) -> bool:
    """Return True if the totals are those of the jobs."""
    of_jobs = "SELECT owner, status, count(*), sum(audio_bytes + result_bytes) FROM jobs GROUP BY owner, status"
    of_totals = "SELECT * FROM totals WHERE n_jobs <> 0 OR n_bytes <> 0 ORDER BY owner, status"
    return [tuple(row) for row in store._reader.execute(of_jobs)] == [
        tuple(row) for row in store._reader.execute(of_totals)
    ]


def test_jobs_are_counted_as_they_change(tmp_path):
    """Also those of a file of an earlier version. So no operation adds up the jobs of a caller who has a million."""
    path = tmp_path / "jobs.sqlite3"
    store = SqliteJobStore(path)
    add(store, "alice"), add(store, "bob")
    for trigger in ("inserted", "deleted", "updated"):
        store._writer.execute(f"DROP TRIGGER job_{trigger}")
    add(store, "bob")
    store._writer.execute("DROP TABLE totals")
    store._writer.execute("CREATE INDEX jobs_by_size ON jobs (owner, status, audio_bytes, result_bytes)")
    store.close()
    store = SqliteJobStore(path)
    assert _counted(store)
    held = claim(store)
    assert _counted(store)
    succeed(store, held, expires_at=10.0)
    assert _counted(store)
    store.cancel(add(store, "carol").id, 2.0, 10.0)
    assert _counted(store)
    assert (store.counts().by_status[JobStatus.QUEUED], store.counts().by_status[JobStatus.SUCCEEDED]) == (2, 1)
    store.expire(11.0, -FAR)
    assert _counted(store)
    store.delete(held.job.id)
    store.expire(12.0, 11.0)
    assert _counted(store)
    assert sum(store.counts().by_status.values()) == 2
    store.close()


def test_many_old_jobs_are_deleted_in_parts(tmp_path):
    """One part delays other changes by little. Those of a week without the service are many."""
    store = SqliteJobStore(tmp_path / "jobs.sqlite3")
    job = add(store)
    store.cancel(job.id, 1.0, 2.0)
    columns = [row[1] for row in store._writer.execute("PRAGMA table_info(jobs)") if row[1] != "id"]
    store._writer.execute(
        "WITH n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500) "
        f"INSERT INTO jobs (id, {', '.join(columns)}) SELECT 'job_' || i, {', '.join(columns)} FROM jobs, n"
    )
    parts = []
    while part := store.expire(10.0, -FAR):
        parts.append(len(part))
    while part := store.expire(10.0, 9.0):
        parts.append(len(part))
    store.close()
    assert parts == [1000, 1000, 501] * 2
