"""The stores that the suite runs on. A new store is added to STORES."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from asr_service.jobs.store import JobStore
from asr_service.jobs.stores.redis import RedisJobStore
from asr_service.jobs.stores.sqlite import SqliteJobStore
from redis_server import RedisServer


def _sqlite(_: pytest.FixtureRequest, directory: Path) -> Callable[[], JobStore]:
    return lambda: SqliteJobStore(directory / "jobs.sqlite3")


def _redis(request: pytest.FixtureRequest, _: Path) -> Callable[[], JobStore]:
    server: RedisServer = request.getfixturevalue("redis_server")
    prefix = secrets.token_hex(4)
    return lambda: RedisJobStore(server.url, prefix)


STORES: dict[str, Callable[[pytest.FixtureRequest, Path], Callable[[], JobStore]]] = {
    "sqlite": _sqlite,
    "redis": _redis,
}


@pytest.fixture(params=STORES)
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], JobStore]]:
    """Open the same store again and again, as several processes do."""
    open_another = STORES[request.param](request, tmp_path)
    opened: list[JobStore] = []

    def open_one() -> JobStore:
        opened.append(open_another())
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Callable[[], JobStore]) -> JobStore:
    return open_store()
