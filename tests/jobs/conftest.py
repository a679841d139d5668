"""The stores that the suite runs on. A new store is added to STORES."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from asr_service.jobs.sqlite import SqliteJobStore
from asr_service.jobs.store import JobStore


def _sqlite(directory: Path) -> JobStore:
    return SqliteJobStore(directory / "jobs.sqlite3")


STORES: dict[str, Callable[[Path], JobStore]] = {"sqlite": _sqlite}


@pytest.fixture(params=STORES)
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], JobStore]]:
    """Open the same store again and again, as several processes do."""
    opened: list[JobStore] = []

    def open_one() -> JobStore:
        opened.append(STORES[request.param](tmp_path))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Callable[[], JobStore]) -> JobStore:
    return open_store()
