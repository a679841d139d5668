"""Damaged records: each is one failed job, and the others are listed, run and swept as ever."""

from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from asr_service.errors import Unavailable
from asr_service.jobs.records import MAX_ATTEMPTS, Idempotency, JobStatus, NewJob, new_job_id
from asr_service.jobs.store import JobStore
from asr_service.jobs.stores.rules import DAMAGED_PAUSE_S
from jobs.conftest import BYTES
from jobs.test_store import DELAYS_S, FAR, LEASE_S, PLENTY, SPEC, add, claim, succeed, write


@pytest.mark.parametrize("field", ["spec", "created_at", "status", "attempts", "audio_bytes"])
def test_a_damaged_job_is_a_failed_one_that_can_be_deleted(store: JobStore, damage: Any, field: str) -> None:
    """It is logged once, and in nobody's way: the next job runs."""
    damaged, sound = add(store, "alice"), add(store, "alice", at=1.0)
    damage("jobs", damaged.id, field)
    with capture_logs() as lines:
        listed = {job.id: job for _ in range(2) for job in store.list("alice", status=None, after=None, limit=9)}
        assert set(listed) == {damaged.id, sound.id}
        shown = store.get(damaged.id)
        assert shown is not None
        assert shown == listed[damaged.id]
        assert (shown.owner, shown.status, shown.error and shown.error.code) == (
            "alice",
            JobStatus.FAILED,
            "record_damaged",
        )
        claimed = [store.claim("a", 2.0, LEASE_S) for _ in range(3)]
    assert [each.job.id for each in claimed if each and each.job.id != damaged.id] == [sound.id]
    assert [line["id"] for line in lines if line["event"] == "a record is damaged"] == [damaged.id]
    if (current := store.get(damaged.id)) is not None and current.is_open:  # an attempt has written the field anew
        store.cancel(damaged.id, 3.0, FAR)
    assert store.cancel(damaged.id, 3.0, FAR) is None
    assert store.delete(damaged.id)
    assert store.get(damaged.id) is None
    assert [job.id for job in store.list("alice", status=None, after=None, limit=9)] == [sound.id]


def test_a_damaged_job_ends_after_its_last_attempt(store: JobStore, damage: Any) -> None:
    """A newer version may read it meanwhile."""
    job = add(store, spec=replace(SPEC, webhook_url="https://example.com/hook"))
    damage("jobs", job.id, "spec", b'{"options": 5}')
    for attempt in range(MAX_ATTEMPTS):
        at = attempt * (DAMAGED_PAUSE_S + 1)
        assert store.claim(f"runner {attempt}", at, LEASE_S) is None
        assert store.counts().by_status[JobStatus.RUNNING] == 0
    assert store.counts().by_status[JobStatus.FAILED] == 1
    assert store.expire(FAR, 0.0) == [job.id]


@pytest.mark.parametrize("field", ["spec", "created_at", "status"])
def test_the_sweeper_deletes_a_damaged_job(store: JobStore, damage: Any, field: str) -> None:
    """After the retention time. It sweeps the others as ever."""
    ended, waiting, sound = add(store), add(store, at=1.0), add(store, at=2.0)
    store.cancel(ended.id, 3.0, 10.0)
    damage("jobs", ended.id, field)
    damage("jobs", waiting.id, field, b"\xff" if field == "spec" else BYTES)
    held = claim(store, 4.0) if field != "spec" else None
    store.requeue_lapsed(FAR, retry_delays_s=DELAYS_S, expires_at=FAR)
    store.counts()
    for at in (20.0, 1e6, 3e6, 5e6):
        store.expire(at, at - 1000)
    left = {job.id for job in store.list("", status=None, after=None, limit=9)}
    assert ended.id not in left
    assert sound.id in left
    if field != "spec":
        assert held is not None
        assert waiting.id not in left


def test_a_lapsed_lease_of_a_damaged_job_does_not_stop_the_sweep(store: JobStore, damage: Any) -> None:
    add(store), add(store, at=1.0)
    first, second = claim(store, 2.0), claim(store, 2.0)
    damage("jobs", first.job.id, "spec")
    store.requeue_lapsed(100.0, retry_delays_s=DELAYS_S, expires_at=FAR)
    job = store.get(second.job.id)
    assert job is not None
    assert job.status is JobStatus.QUEUED


def test_an_idempotency_key_of_a_damaged_job_is_free(store: JobStore, damage: Any) -> None:
    key = Idempotency("key", b"d")
    job = store.create(NewJob(new_job_id(), "alice", SPEC, 1, idempotency=key), PLENTY, 0.0).job
    damage("jobs", job.id, "spec")
    created = store.create(NewJob(new_job_id(), "alice", SPEC, 1, idempotency=key), PLENTY, 1.0)
    assert not created.is_replayed
    assert created.job.id != job.id


@pytest.mark.parametrize("field", ["event", "attempts", "created_at"])
def test_a_damaged_delivery_is_left_out(store: JobStore, damage: Any, field: str) -> None:
    """The next one is sent."""
    for at in (1.0, 2.0):
        add(store, spec=replace(SPEC, webhook_url="https://example.com/hook"))
        succeed(store, held := claim(store), at=at)
        if at == 1.0:
            damaged = held.job.id
            (delivery,) = store.deliveries(damaged)
            damage("deliveries", delivery.id, field)
    assert store.deliveries(damaged) == []
    claimed = [each for at in range(3) if (each := store.claim_delivery(3.0, LEASE_S)) is not None]
    if field == "attempts" and len(claimed) == 2:  # SQLite counts from 0 again
        claimed = claimed[1:]
    assert [each.job_id for each in claimed] == [held.job.id]


def test_a_key_of_another_type_is_a_damaged_job(redis_server: Any) -> None:
    """As after a wrong restore."""
    from asr_service.jobs.stores.redis import RedisJobStore

    store = RedisJobStore(redis_server.url, "other-type")
    job, other = add(store, "alice"), add(store, "alice", at=1.0)
    name = f"{store._prefix}job:{job.id}"
    store._client.delete(name)
    store._client.set(name, BYTES)
    assert [each.id for each in store.list("alice", status=None, after=None, limit=9)] == [other.id, job.id]
    assert claim(store, 2.0).job.id == other.id
    assert store.delete(job.id)
    store.close()


@pytest.mark.parametrize("kind", ["absent", "of another type"])
def test_a_lost_record_of_a_running_job_is_in_nobodys_way(redis_server: Any, monkeypatch: Any, kind: str) -> None:
    """Redis has evicted it, or an operator has deleted its key. It does not count for its owner for ever."""
    from asr_service.jobs.stores.redis import RedisJobStore

    store = RedisJobStore(redis_server.url, f"lost-{kind[0]}")
    lost, other = add(store, "alice"), add(store, "alice", at=1.0)
    held = claim(store, 2.0)
    name = f"{store._prefix}job:{lost.id}"
    store._client.delete(name)
    if kind == "of another type":
        store._client.set(name, BYTES)
    assert not store.holds(lost.id, held.token)
    assert list(store.ended([lost.id, other.id])) == [lost.id]
    with monkeypatch.context() as patch:
        patch.setattr(store, "_run", _without_answer)
        with pytest.raises(Unavailable):
            store.claim("a", 3.0, LEASE_S)
    assert claim(store, 4.0).job.id == other.id
    store.expire(3e6, 2e6)
    assert lost.id not in str(
        [store._client.zrange(key, 0, -1) for key in store._client.keys(f"{store._prefix}owner:*")]
    )
    assert store._client.hget(f"{store._prefix}bytes", "alice") == str(other.audio_bytes)
    store.close()


def _without_answer(*_: object, **__: object) -> None:
    raise Unavailable("It is down.")


def test_a_job_whose_segments_are_of_another_type_starts_again(redis_server: Any) -> None:
    """Its segments are written in their place."""
    from asr_service.jobs.stores.redis import RedisJobStore

    store = RedisJobStore(redis_server.url, "segments-type")
    add(store)
    held = claim(store)
    store._client.set(f"{store._prefix}segments:{held.job.id}", BYTES)
    assert list(store.segments(held.job.id)) == []
    assert write(store, held, 1, "one")
    assert write(store, held, 0, "zero")
    assert list(store.segments(held.job.id)) == ["zero"]
    store.close()


def test_a_damaged_job_of_a_caller_with_many_is_deleted_without_a_look_at_the_others(redis_server: Any) -> None:
    """Redis does nothing else meanwhile: it took 3 s with 50,000 jobs. The caller's size and keys stay right."""
    from asr_service.jobs.stores.redis import RedisJobStore

    store = RedisJobStore(redis_server.url, "many-jobs")
    key = Idempotency("key", b"d")
    damaged = store.create(NewJob(new_job_id(), "alice", SPEC, 30, idempotency=key), PLENTY, 0.0).job
    add(store, "alice")
    others = {f"job_{number}": 0 for number in range(1100)}
    store._client.zadd(f"{store._prefix}owner:all:alice", others)
    store._client.hset(f"{store._prefix}idempotency:alice", mapping=dict.fromkeys(others, "job_0"))
    store._client.hset(f"{store._prefix}job:{damaged.id}", mapping={"spec": "{", "result_bytes": "x"})
    assert store.delete(damaged.id)
    assert store._client.hget(f"{store._prefix}bytes", "alice") == "100"
    assert store.find_replay("alice", "key") is None
    assert store._client.hlen(f"{store._prefix}idempotency:alice") == 1100
    store.close()
