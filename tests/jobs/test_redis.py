"""The Redis store and its server: outages, a full memory, several services on one server."""

import os
import secrets
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from asr_service.errors import Unavailable
from asr_service.jobs import sweeper
from asr_service.jobs.cluster.broker import Broker
from asr_service.jobs.records import JobStatus, NewJob, new_job_id
from asr_service.jobs.service import Jobs
from asr_service.jobs.store import OutcomeUnknown
from asr_service.jobs.stores.directory import DirectoryFiles
from asr_service.jobs.stores.redis import RedisJobStore, database, server
from asr_service.jobs.sweeper import Sweeper
from asr_service.jobs.times import RunnerTimes
from jobs.test_store import ERROR, FAR, PLENTY, SPEC, add, claim, get, succeed, write
from redis_server import RedisServer, running_redis
from waiting import until


@pytest.fixture
def store(redis_server: RedisServer) -> Iterator[RedisJobStore]:
    opened = RedisJobStore(redis_server.url, secrets.token_hex(4))
    yield opened
    opened.close()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """Run a server that a test may stop."""
    with running_redis(tmp_path / "redis") as server:
        yield server


def keys_of(store: RedisJobStore) -> set[str]:
    return {str(key).removeprefix(store._prefix) for key in store._client.keys(f"{store._prefix}*")}


def test_services_with_different_prefixes_share_a_server(redis_server, store):
    """Neither sees the jobs of the other."""
    other = RedisJobStore(redis_server.url, "other")
    job = add(store)
    assert other.get(job.id) is None
    assert other.claim("x", 1.0, 10.0) is None
    other.close()


def test_a_machine_whose_clock_is_wrong_ends_no_job(store, tmp_path, monkeypatch):
    """Neither running jobs nor transcripts: all leases and retention times seem to be over. The log has the reason."""
    now = time.time()
    add(store)
    running = claim(store, now)
    add(store)
    succeed(store, ended := claim(store, now), at=now, expires_at=now + 50)
    jobs = Jobs(store, DirectoryFiles(tmp_path), limits=PLENTY, retention_s=60)
    clock = SimpleNamespace(time=lambda: time.time() + 100, monotonic=time.monotonic)
    for module in (sweeper, server):
        monkeypatch.setattr(module, "time", clock)
    with pytest.raises(Unavailable, match="Synchronize the clocks"):
        Sweeper(jobs, RunnerTimes(settle_s=0.0)).sweep_records()
    assert store.holds(running.job.id, running.token)
    assert get(store, ended.job.id).status is JobStatus.SUCCEEDED
    jobs.close()


def test_nothing_accepted_is_lost_when_the_server_is_killed(own_server):
    """The append-only file has the record, the segments and the lease. Until the server is back, calls are a 503."""
    store = RedisJobStore(own_server.url, "asr")
    waiting = add(store, "alice")
    held = claim(store)
    write(store, held, 0, "zero")
    own_server.kill()
    with capture_logs() as logs:
        for _ in range(3):
            with pytest.raises(Unavailable):
                store.get(held.job.id)
        own_server.start()
        assert get(store, waiting.id).owner == "alice"
    assert [each["event"] for each in logs] == [
        "the jobs' records cannot be used",
        "the jobs' records can be used again",
    ]
    assert list(store.segments(held.job.id)) == ["zero"]
    assert succeed(store, held)
    store.close()


def test_a_server_that_lost_its_data_has_no_jobs(redis_server, store):
    """A runner loses its lease and leaves no traces, and a caller's repetition makes a new job."""
    job, held = add(store), claim(store)
    redis_server.client().delete(*redis_server.client().keys(f"{store._prefix}*"))
    assert store.get(job.id) is None
    assert not store.renew(held.job.id, held.token, FAR)
    assert not store.holds(held.job.id, held.token)
    assert not write(store, held, 0, "zero")
    assert not succeed(store, held)
    assert not store.give_back(held.job.id, held.token)
    assert not keys_of(store)
    assert get(store, add(store).id).status is JobStatus.QUEUED


def test_a_server_that_hangs_is_a_503(own_server, monkeypatch):
    """The time of a call is limited, and the service continues."""
    monkeypatch.setattr(database, "_TIMEOUT_S", 0.2)
    store = RedisJobStore(own_server.url, "asr")
    job = add(store)
    os.kill(own_server.pid, signal.SIGSTOP)
    with pytest.raises(Unavailable):
        store.get(job.id)
    os.kill(own_server.pid, signal.SIGCONT)
    assert get(store, job.id) == job
    store.close()


def test_a_claim_whose_answer_was_lost_costs_no_attempt(own_server, monkeypatch):
    """A server that hung runs the command that it has received, and its runner does not know of it."""
    monkeypatch.setattr(database, "_TIMEOUT_S", 0.2)
    store = RedisJobStore(own_server.url, "asr")
    job = add(store)
    assert not store.holds(job.id, "none")  # the server knows the script now
    os.kill(own_server.pid, signal.SIGSTOP)
    with pytest.raises(Unavailable):
        store.claim("a", 1.0, 10.0)
    os.kill(own_server.pid, signal.SIGCONT)
    until(lambda: get(store, job.id).status is JobStatus.RUNNING, what="the claim whose answer was lost")
    held = claim(store, at=2.0)
    assert (held.job.id, held.job.attempts) == (job.id, 1)
    assert store.claim("a", 3.0, 10.0) is None
    assert store.holds(held.job.id, held.token)
    store.close()


def test_a_job_may_be_created_after_its_answer_was_lost(own_server, monkeypatch):
    """The caller knows that. A refusal is another error: there will be no such job."""
    monkeypatch.setattr(database, "_TIMEOUT_S", 0.2)
    store = RedisJobStore(own_server.url, "asr")
    late = NewJob(new_job_id(), "", SPEC, 1)
    assert store.get(late.id) is None  # the server knows the script now
    os.kill(own_server.pid, signal.SIGSTOP)
    with pytest.raises(OutcomeUnknown):
        store.create(late, PLENTY, 0.0)
    os.kill(own_server.pid, signal.SIGCONT)
    until(lambda: store.get(late.id), what="the job")
    own_server.client().config_set("maxmemory", 1)
    with pytest.raises(Unavailable) as refused:
        add(store)
    assert not isinstance(refused.value, OutcomeUnknown)
    store.close()


def test_a_full_memory_refuses_jobs_and_lets_running_ones_end(own_server):
    """Otherwise a full server would never become emptier."""
    store = RedisJobStore(own_server.url, "asr")
    job = add(store)
    own_server.client().config_set("maxmemory", 1)
    with pytest.raises(Unavailable):
        add(store)
    held = claim(store)
    assert write(store, held, 0, "zero")
    assert succeed(store, held)
    assert get(store, job.id).status is JobStatus.SUCCEEDED
    assert store.delete(job.id)
    store.close()


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [("maxmemory-policy", "allkeys-lru", "set noeviction"), ("appendonly", "no", "set appendonly yes")],
)
def test_a_server_that_may_lose_jobs_is_a_warning(own_server, option, value, reason):
    """Once for each process, when it first uses the server."""
    own_server.client().config_set(option, value)
    store = RedisJobStore(own_server.url, "asr")
    with capture_logs() as logs:
        add(store)
        add(store)
    (line,) = logs
    assert reason in line["reason"]
    store.close()


def test_a_user_needs_no_other_permissions_than_documented(own_server):
    """Neither to change the server nor to reach the keys of others. Without INFO, only the warnings are missing."""
    documented = "~asr:* +@read +@write +@scripting +@connection +info +time"
    assert documented in (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    for number, rules in enumerate((documented, documented.replace(" +info", ""))):
        own_server.client().execute_command("ACL", "SETUSER", f"user{number}", "on", ">secret", *rules.split())
        store = RedisJobStore(own_server.url.replace("unix://", f"unix://user{number}:secret@"), "asr")
        with capture_logs() as logs:
            add(store)
            assert succeed(store, claim(store))
            assert store.expire(FAR * 10, -FAR)
        assert logs == []
        store.close()


def test_an_answer_that_was_lost_may_be_asked_for_again(store):
    """A runner repeats the end of its job, and a job is created once."""
    job = add(store)
    held = claim(store)
    assert succeed(store, held)
    assert succeed(store, held)
    assert not store.fail(job.id, held.token, 1.0, ERROR, expires_at=FAR)
    assert get(store, job.id).status is JobStatus.SUCCEEDED


def test_a_deleted_job_leaves_no_key(store):
    """Redis keeps everything in memory. What remains is the layout's version and the turns of owners."""
    for at in (1.0, 2.0):
        add(store, "alice", at=at, spec=replace(SPEC, webhook_url="https://example.com/"))
        held = claim(store, at)
        write(store, held, 0, "zero")
        succeed(store, held, expires_at=10.0)
    assert len(store.expire(11.0, -FAR)) == 2
    assert store.delete(held.job.id)
    assert len(store.expire(FAR, FAR)) == 1
    assert keys_of(store) == {"version", "turns"}


def test_records_of_a_newer_version_are_left_alone(store):
    """An old slot does not change what it does not understand."""
    add(store)
    store._client.set(f"{store._prefix}version", 99)
    with pytest.raises(Unavailable):
        claim(store)
    with pytest.raises(Unavailable):
        add(store)


def test_times_are_kept_to_the_last_digit(store):
    """Lua's numbers would be shortened to 14 digits."""
    at = 1764413348.1234567
    assert get(store, add(store, at=at).id).created_at == at


def test_text_of_every_kind_is_kept(store):
    """Segments contain any character of any script."""
    add(store)
    held = claim(store)
    text = 'line\nbreak "quotes" \\ \x00 \x7f é 日本 😀'
    write(store, held, 0, text)
    assert list(store.segments(held.job.id)) == [text]


def test_passwords_are_not_logged(own_server):
    """Neither that of the URL nor that of the server."""
    own_server.client().config_set("requirepass", "swordfish")
    store = RedisJobStore(own_server.url.replace("unix://", "unix://:hunter2@"), "asr")
    with capture_logs() as logs, pytest.raises(Unavailable) as refused:
        store.counts()
    assert "hunter2" not in f"{logs} {refused.value}"
    assert "swordfish" not in f"{logs} {refused.value}"
    store.close()


def test_the_limits_of_an_owner_hold_for_simultaneous_submissions(redis_server):
    """The check and the creation are one step."""
    from concurrent.futures import ThreadPoolExecutor

    from asr_service.errors import JobLimit
    from asr_service.jobs.records import OwnerLimits

    prefix = secrets.token_hex(4)
    stores = [RedisJobStore(redis_server.url, prefix) for _ in range(4)]
    few = OwnerLimits(waiting_jobs=3, stored_bytes=PLENTY.stored_bytes)

    def submit(store: RedisJobStore) -> int:
        try:
            store.create(NewJob(new_job_id(), "", SPEC, 1), few, 0.0)
        except JobLimit:
            return 0
        return 1

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(submit, stores * 4)) == 3
    for store in stores:
        store.close()


def test_a_server_that_became_a_replica_is_left(tmp_path):
    """A failover moves the address to another server. The old one keeps its connections, and refuses changes."""
    with running_redis(tmp_path / "one") as one, running_redis(tmp_path / "two") as two:
        address = tmp_path / "redis.sock"
        address.symlink_to(tmp_path / "one" / "redis.sock")
        store, broker = RedisJobStore(f"unix://{address}", "x"), Broker(f"unix://{address}", "x")
        add(store)
        assert broker.wake(1) == 1
        with one.client() as client:
            client.replicaof("127.0.0.1", 1)
        address.unlink()
        address.symlink_to(tmp_path / "two" / "redis.sock")
        for change in (lambda: add(store), lambda: broker.wake(2)):
            with pytest.raises(Unavailable):
                change()
        job = add(store)
        assert broker.wake(1) == 1
        store.close()
        broker.close()
        with two.client() as client:
            assert client.exists(f"x:jobs:job:{job.id}")
            assert client.llen("x:celery:jobs") == 1
