"""What every store of results promises."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from asr_service.results.directory import DirectoryStore
from asr_service.results.memory import MemoryStore
from asr_service.results.redis import RedisStore
from asr_service.results.store import Claimed, Found, Held, Lease, StoreFailed
from waiting import until

VALUE = bytes(range(256))


def test_a_value_is_found_until_it_is_deleted(open_store):
    """By every process. A value is bytes of any kind; a later one replaces it."""
    one, other = open_store(), open_store()
    assert other.load("r-1") is None
    one.store("r-1", b"old", 60)
    one.store("r-1", VALUE, 60)
    assert (other.load("r-1"), other.load("r-2")) == (VALUE, None)
    assert other.claim("r-1", Lease("r-1", "a"), 60) == Found(VALUE)
    other.delete("r-1")
    other.delete("r-1")
    assert one.load("r-1") is None


def test_a_value_and_a_lease_expire(store):
    """An expired lease can be taken by another, and is lost to the first."""
    store.store("r-1", VALUE, 0.01)
    first, second = Lease("r-2", "a", "first"), Lease("r-2", "b", "second")
    assert store.claim("r-2", first, 0.01) == Claimed()
    until(lambda: store.load("r-1") is None, what="the value's end")
    until(lambda: store.claim("r-2", second, 60) == Claimed(), what="the lease's end")
    assert (store.renew(first, 60), store.renew(second, 60)) == (False, True)
    store.release(first)
    assert store.claim("r-2", first, 60) == Held("second")


def test_one_of_many_holds_the_lease(open_store):
    """Fifty that claim it at the same time: one gets it. When it is given back, another can."""
    stores = [open_store() for _ in range(5)]
    begin = threading.Barrier(10)

    def claim(number: int) -> bool:
        if number < 10:
            begin.wait(60)
        lease = Lease("r-1", str(number), f"note {number}")
        return isinstance(stores[number % 5].claim("r-1", lease, 60), Claimed)

    with ThreadPoolExecutor(10) as pool:
        claimed = [number for number, is_claimed in enumerate(pool.map(claim, range(50))) if is_claimed]
    (holder,) = claimed
    assert stores[0].claim("r-1", Lease("r-1", "x"), 60) == Held(f"note {holder}")
    assert stores[1].claim("r-1", Lease("r-1-bulk", "x"), 60) == Claimed()
    stores[2].release(Lease("r-1", str(holder), f"note {holder}"))
    assert stores[3].claim("r-1", Lease("r-1", "x"), 60) == Claimed()


def test_a_renewed_lease_does_not_expire(store):
    lease = Lease("r-1", "a")
    assert store.claim("r-1", lease, 0.2) == Claimed()
    assert store.renew(lease, 60)
    time.sleep(0.25)
    assert store.claim("r-1", Lease("r-1", "b"), 60) == Held("")


def test_the_size_is_known(store):
    store.store("r-1", os.urandom(100_000), 60)
    assert store.n_bytes() >= 100_000


def test_memory_drops_what_was_not_used_for_longest():
    """Within its limit. A value over the whole limit is not kept, and replaces what was there."""
    store = MemoryStore(100)
    for name in "abc":
        store.store(name, bytes(30), 60)
    store.load("a")
    store.store("d", bytes(30), 60)
    assert [store.load(name) is not None for name in "abcd"] == [True, False, True, True]
    assert store.n_bytes() == 90
    store.store("a", bytes(101), 60)
    assert (store.load("a"), store.n_bytes()) == (None, 60)


def test_memory_drops_what_has_expired():
    """It is deleted even if no request reads it."""
    now = [0.0]
    store = MemoryStore(100, lambda: now[0])
    store.store("a", bytes(30), 5)
    store.store("b", bytes(20), 50)
    now[0] = 10.0
    store.sweep()
    assert store.n_bytes() == 20


def test_a_directory_deletes_what_was_not_used_for_longest(tmp_path):
    """Within its limit, whichever process wrote it, and first what has expired."""
    one, other = (DirectoryStore(tmp_path, 10_000) for _ in range(2))
    for age, name in enumerate("abcdefghi"):
        (one, other)[age % 2].store(name, bytes(1000), 60)
        os.utime(tmp_path / "values" / name, (0, 1000 + age))
    one.store("expired", bytes(10), 0)
    other.load("a")
    one.store("j", bytes(1000), 60)
    assert one.is_sweep_due()
    one.sweep()
    left = {path.name for path in (tmp_path / "values").iterdir()}
    assert left == set("adefghij")
    assert one.n_bytes() == sum(path.stat().st_size for path in (tmp_path / "values").iterdir()) <= 9000
    one.store("a", bytes(10_001), 60)
    assert other.load("a") is None


def test_a_directory_outlives_its_processes(tmp_path):
    """What a process left unfinished is deleted after an hour."""
    DirectoryStore(tmp_path, 1000).store("r-1", VALUE, 60)
    part = tmp_path / "values" / "r-2.x.part"
    part.write_bytes(b"half")
    os.utime(part, (0, 0))
    again = DirectoryStore(tmp_path, 1000)
    assert again.load("r-1") == VALUE
    again.sweep()
    assert not part.exists()


@pytest.mark.parametrize("content", [b"", b"short", b"not json", b'{"token": 1, "note": 2, "expires_at": 1e300}'])
def test_a_damaged_file_of_a_directory_is_no_value_and_no_lease(tmp_path, content):
    """As an interrupted write leaves it after a power failure."""
    store = DirectoryStore(tmp_path, 1000)
    (tmp_path / "values" / "r-1").write_bytes(content[:7])
    (tmp_path / "leases" / "r-1").write_bytes(content)
    assert store.claim("r-1", Lease("r-1", "a"), 60) == Claimed()


@pytest.mark.parametrize("has_type", [True, False])
def test_damaged_keys_of_redis_are_no_value_and_no_lease(redis_server, has_type):
    """A lease without an expiry would be held for ever. A key may also have another type than a string."""
    store = RedisStore(redis_server.url, setting="ASR_CACHE_URL", prefix=f"damage-{has_type}", timeout_s=5)
    value, lease = f"damage-{has_type}:results:v", f"damage-{has_type}:results:lease:l"
    with redis_server.client() as client:
        for name in (value, lease):
            client.set(name, b"\xff\xfe") if has_type else client.hset(name, "a", "b")
    assert store.load("v") == (b"\xff\xfe" if has_type else None)
    store.delete("v")
    assert store.claim("v", Lease("l", "token"), 0.05) == Held("")
    until(lambda: store.claim("v", Lease("l", "token"), 0.05) == Claimed(), what="the end of the lease")
    store.close()


def test_a_store_that_is_not_there_fails(tmp_path):
    """Each call raises StoreFailed."""
    directory = DirectoryStore(tmp_path / "store", 1000)
    (tmp_path / "store" / "values").rmdir()
    redis = RedisStore(f"unix://{tmp_path}/none.sock", setting="ASR_CACHE_URL", prefix="asr", timeout_s=1)
    lease = Lease("r-1", "a")
    for call in (
        lambda: directory.store("r-1", b"", 60),
        directory.sweep,
        lambda: redis.load("r-1"),
        lambda: redis.claim("r-1", lease, 60),
        lambda: redis.renew(lease, 60),
        lambda: redis.release(lease),
        lambda: redis.store("r-1", b"", 60),
        lambda: redis.delete("r-1"),
        redis.n_bytes,
    ):
        with pytest.raises(StoreFailed):
            call()
