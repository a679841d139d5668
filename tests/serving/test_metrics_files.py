"""The metrics' files and uploads on one disk that becomes full."""

import errno
import os
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest
from prometheus_client.mmap_dict import MmapedDict

from asr_service.serving.allocated_dict import AllocatedDict
from disks import small_disk
from engines import loud, wav
from serving.harness import Service, running
from waiting import until


def fill(folder: Path, free_bytes: int = 0) -> Path:
    """Write a file that leaves so much free."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    os.truncate(filler, filler.stat().st_size - free_bytes)
    return filler


def has_holes(file: Path) -> bool:
    return file.stat().st_blocks * 512 < file.stat().st_size


def test_a_file_has_its_space_when_it_is_created_and_when_it_grows(tmp_path):
    """Keys of every length, so that the predicted growth is that of prometheus_client."""
    file = tmp_path / "counter_slot-0.db"
    with closing(AllocatedDict(str(file))) as stored:
        size = file.stat().st_size
        for number in range(4000):
            stored.write_value("k" * (number % 97) + str(number), float(number), 0.0)
            assert not has_holes(file)
    assert file.stat().st_size > size
    found = {key: value for key, value, _, _ in MmapedDict.read_all_values_from_file(file)}  # type: ignore[no-untyped-call]
    assert found == {"k" * (number % 97) + str(number): float(number) for number in range(4000)}


def test_a_file_that_cannot_grow_keeps_what_it_has_and_takes_the_rest_later(tmp_path, monkeypatch):
    """A metric must not fail a request. Known keys are stored, and new keys when there is space again."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with closing(AllocatedDict(str(tmp_path / "counter_slot-0.db"))) as stored:
        stored.write_value("old", 1.0, 0.0)
        new = [f"{number:0200}" for number in range(2000)]
        with monkeypatch.context() as patched:
            patched.setattr(os, "posix_fallocate", full)
            for key in new:
                stored.write_value(key, 2.0, 0.0)
            assert stored.read_value(new[-1]) == (0.0, 0.0)
            stored.write_value("old", 3.0, 0.0)
        assert stored.read_value("old") == (3.0, 0.0)
        stored.write_value(new[-1], 4.0, 0.0)
        assert stored.read_value(new[-1]) == (4.0, 0.0)


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    with small_disk(tmp_path_factory.mktemp("disk"), "8m") as disk:
        yield disk


@pytest.fixture(scope="module")
def service(disk, tmp_path_factory):
    environ = {"FAKE_MODEL": "0", "ASR_SOCKET_DIR": str(disk / "run"), "TMPDIR": str(disk)}
    with running(tmp_path_factory.mktemp("service"), None, **environ) as service:
        yield service.ready()


def upload(service: Service, seconds: float) -> httpx.Response:
    data = wav(loud(seconds))
    return httpx.post(f"{service.url}/transcribe?vad_filter=false", files={"file": ("a.wav", data)}, timeout=60)


def test_an_upload_without_space_is_refused_and_the_worker_goes_on(disk, service):
    """Its metrics have their space already, also those of status codes that were not seen before."""
    worker = service.workers()
    filler = fill(disk)
    try:
        refused = upload(service, 60)
        assert refused.status_code == 503
        assert "no disk space for this upload" in refused.text
        for path in ("/transcribe", "/nowhere", "/v1/models", "/health"):
            httpx.get(service.url + path)
        assert httpx.get(f"{service.url}/metrics").status_code == 200
    finally:
        filler.unlink()
    assert upload(service, 60).status_code == 200
    assert service.workers() == worker
    assert service.metric('asr_requests_total{code="503",endpoint="/transcribe"}') == 1


def test_a_large_upload_leaves_space_for_small_ones(disk, service):
    """It is refused although it would just fit, and a clip is transcribed."""
    filler = fill(disk, free_bytes=1_900_000)
    try:
        assert upload(service, 55).status_code == 503
        assert upload(service, 30).status_code == 200
    finally:
        filler.unlink()


def test_the_next_worker_needs_no_new_space_for_its_metrics(disk, service):
    """A killed worker's gauges are forgotten, and its files keep their space."""
    filler = fill(disk)
    try:
        (old,) = service.workers()
        service.signal(9, old)
        until(lambda: service.workers() not in (set(), {old}) and service.metric('asr_slot_ready{slot="0"}') == 1)
    finally:
        filler.unlink()


def test_a_service_without_space_for_its_metrics_does_not_start(disk, tmp_path):
    """It ends with exit code 78 and names the setting."""
    environ = {"ASR_SOCKET_DIR": str(tmp_path), "ASR_METRICS_DIR": str(disk / "other")}
    filler = fill(disk, free_bytes=300_000)
    try:
        with running(tmp_path, None, **environ) as service:
            assert service.ended() == 78
    finally:
        filler.unlink()
    assert "No space left on device. Free some disk space, or set ASR_METRICS_DIR to a directory" in service.text()
