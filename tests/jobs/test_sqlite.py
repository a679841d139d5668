"""The SQLite store as a file."""

import sqlite3
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import pytest

from asr_service.errors import ConfigurationError, Unavailable
from asr_service.jobs.stores.sqlite import SqliteJobStore
from jobs.test_store import add


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
    pragmas = [store._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
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


def test_a_full_disk_is_a_503(tmp_path):
    """The store is used again when there is room."""
    store = SqliteJobStore(tmp_path / "jobs.sqlite3")
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(Unavailable):
        deque((add(store) for _ in range(1000)), maxlen=0)
    store._connection.execute("PRAGMA max_page_count = 1000000")
    add(store)
    store.close()
