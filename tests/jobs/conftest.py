"""The stores that the suite runs on, and changes of their records. A new store is added to STORES."""

import secrets
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

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


BYTES = b'{"options": \xff\xfe'
Damage = Callable[..., None]
"""Sets a field of a record to damaged bytes: takes the kind (jobs, deliveries), the id, the field and the bytes."""


def _in_sqlite(path: Path) -> Damage:
    def damage(table: str, record_id: str, field: str, value: bytes = BYTES) -> None:
        with sqlite3.connect(path) as db:
            db.execute(f"UPDATE {table} SET {field} = CAST(? AS TEXT) WHERE id = ?", (value, record_id))
        db.close()

    return damage


def _in_redis(client: "redis.Redis", prefix: str) -> Damage:
    keys = {"jobs": "job", "deliveries": "delivery"}

    def damage(table: str, record_id: str, field: str, value: bytes = BYTES) -> None:
        name = f"{prefix}{keys[table]}:{record_id}"
        assert client.exists(name)
        client.hset(name, field, value)

    return damage


@pytest.fixture
def damage(store: Any, tmp_path: Path) -> Any:
    if hasattr(store, "_client"):
        return _in_redis(store._client, store._prefix)
    return _in_sqlite(next(tmp_path.glob("*.sqlite3")))
