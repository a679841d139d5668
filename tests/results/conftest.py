"""The stores that the suite runs on. A new store is added to STORES."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from asr_service.results.directory import DirectoryStore
from asr_service.results.memory import MemoryStore
from asr_service.results.redis import RedisStore
from asr_service.results.store import ResultStore
from redis_server import RedisServer, running_redis

STORES = ("memory", "directory", "redis")
MAX_BYTES = 1_000_000


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=STORES)
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], ResultStore]]:
    """Open the same store again and again, as several processes do. One process alone has the store in its memory."""
    opened: list[ResultStore] = []

    def open_one() -> ResultStore:
        if request.param == "memory":
            store: ResultStore = opened[0] if opened else MemoryStore(MAX_BYTES)
        elif request.param == "directory":
            store = DirectoryStore(tmp_path / "store", MAX_BYTES)
        else:
            url = request.getfixturevalue("redis_server").url
            store = RedisStore(url, setting="ASR_CACHE_URL", prefix="asr", timeout_s=5)
        opened.append(store)
        return store

    if request.param == "redis":
        with request.getfixturevalue("redis_server").client() as client:
            client.flushall()
    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Callable[[], ResultStore]) -> ResultStore:
    return open_store()
