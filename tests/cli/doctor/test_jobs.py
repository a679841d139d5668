"""`doctor` checks the disk, the Redis and the bucket of jobs, with real ones."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from asr_service.cli.doctor.jobs import check_jobs
from asr_service.jobs.stores.opening import open_stores
from asr_service.settings import load_settings
from benchmarks.common.object_store import ObjectStore
from disks import read_only_disk, small_disk
from redis_server import RedisServer, running_redis


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with running_redis(tmp_path / "redis") as running:
        yield running


def found(**settings: str) -> list[tuple[str, str, str | None]]:
    return [(each.level, each.message, each.fix) for each in check_jobs(load_settings({}, **settings))]


def test_the_disk_of_jobs_is_checked(tmp_path):
    """A full one is a failure. A directory that is missing is made by the service."""
    ((level, message, _),) = found(state_dir=str(tmp_path / "new/state"))
    assert level == "ok"
    assert re.fullmatch(rf"{tmp_path}/new/state has \d+\.\d GB free for jobs", message)
    with small_disk(tmp_path, "16m"):
        ((level, message, fix),) = found(state_dir=str(tmp_path / "state"))
        assert (level, message) == ("failure", f"{tmp_path}/state has 0.0 GB free for jobs")
        assert fix
        assert fix.startswith("free some space")


def test_a_directory_of_jobs_that_cannot_be_written_is_a_failure(tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "mounted").mkdir()
    with read_only_disk(tmp_path / "state", tmp_path / "mounted") as place:
        ((level, message, _),) = found(state_dir=str(place))
        assert (level, message) == ("failure", f"{place} cannot be written")


def test_a_directory_of_files_must_exist(tmp_path):
    assert found(jobs_files=str(tmp_path)) == []
    ((level, message, fix),) = found(jobs_files=str(tmp_path / "missing"))
    assert (level, message, fix) == ("failure", f"{tmp_path / 'missing'} does not exist", "mount it, or make it once")


def test_a_redis_that_keeps_jobs_is_ok(server):
    assert found(jobs_url=server.url) == [("ok", "Redis answers and keeps what it gets", None)]


def test_a_redis_that_may_lose_jobs_is_a_warning(server):
    """With the option that must change."""
    server.client().config_set("maxmemory-policy", "allkeys-lfu")
    ((level, message, fix),) = found(jobs_url=server.url)
    assert level == "warning"
    assert "maxmemory-policy is allkeys-lfu" in message
    assert fix is not None
    assert fix.startswith("set noeviction")


def test_a_redis_that_does_not_answer_is_a_failure(server):
    server.kill()
    ((level, message, _),) = found(jobs_url=server.url)
    assert level == "failure"
    assert "Redis does not answer" in message


def test_a_bucket_is_read(s3: ObjectStore, monkeypatch: pytest.MonkeyPatch):
    """A wrong password is a failure."""
    for name, value in s3.environ.items():
        monkeypatch.setenv(name, value)
    place = s3.url("doctor")
    assert found(jobs_files=place) == [("ok", f"{place} can be read", None)]
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    ((level, message, fix),) = found(jobs_files=place)
    assert (level, fix) == ("failure", "correct ASR_JOBS_FILES or the credentials")
    assert place in message


def test_a_directory_without_the_marker_of_the_jobs_is_a_failure(server, tmp_path):
    """Such as the mount point of a missing mount, or a local directory of this machine. `doctor` makes no marker."""
    directory = tmp_path / "files"
    directory.mkdir()
    place = {"jobs_url": server.url, "jobs_files": str(directory)}
    assert [level for level, _, _ in found(**place)] == ["ok"]
    assert list(directory.iterdir()) == []
    opened = open_stores(load_settings({}, **place))
    assert opened is not None
    store, files = opened
    files.old_audio(0)
    store.close()
    assert [level for level, _, _ in found(**place)] == ["ok", "ok"]
    (marker,) = directory.iterdir()
    marker.unlink()
    (_, (level, message, _)) = found(**place)
    assert level == "failure"
    assert marker.name in message
