"""What every store of files promises: a directory, and a bucket of a real S3 server."""

import io
import os
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from asr_service.errors import ConfigurationError, Unavailable
from asr_service.jobs.files import FileMissing, JobFiles
from asr_service.jobs.stores.directory import DirectoryFiles
from asr_service.jobs.stores.marker import Marker
from asr_service.jobs.stores.objects import ObjectFiles
from asr_service.jobs.stores.opening import open_stores
from asr_service.settings import load_settings
from benchmarks.common.object_store import ObjectStore

MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def _credentials(s3: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.environ.items():
        monkeypatch.setenv(name, value)


def _directory(_: pytest.FixtureRequest, directory: Path) -> JobFiles:
    return DirectoryFiles(directory)


def _s3(request: pytest.FixtureRequest, _: Path) -> JobFiles:
    server: ObjectStore = request.getfixturevalue("s3")
    return ObjectFiles(server.url(secrets.token_hex(4)))


FILES: dict[str, Callable[[pytest.FixtureRequest, Path], JobFiles]] = {"directory": _directory, "s3": _s3}


@pytest.fixture(params=FILES)
def files(request: pytest.FixtureRequest, tmp_path: Path) -> JobFiles:
    return FILES[request.param](request, tmp_path)


def test_recordings_and_transcripts_are_stored_and_deleted(files):
    """The recording of an ended job goes first."""
    source = io.BytesIO(b"sound")
    source.seek(3)  # the whole recording is stored, wherever its reader was
    assert files.store_audio("job_1", source) == 5
    files.store_transcript("job_1", b"{}")
    with files.open_audio("job_1") as audio:
        assert audio.read() == b"sound"
        assert audio.fileno() >= 0
    files.delete_audio("job_1")
    with pytest.raises(FileMissing):
        files.open_audio("job_1")
    assert files.load_transcript("job_1") == b"{}"
    files.delete("job_1")
    with pytest.raises(FileMissing):
        files.load_transcript("job_1")
    files.delete("job_1")


def test_a_large_recording_is_read_back_as_it_was(files, tmp_path):
    """It goes to an object store in parts."""
    source = tmp_path / "source"
    source.write_bytes(os.urandom(17 * MIB + 5))
    with source.open("rb") as opened:
        assert files.store_audio("job_1", opened) == 17 * MIB + 5
    with files.open_audio("job_1") as audio:
        assert audio.read() == source.read_bytes()
    files.delete("job_1")


def test_a_transcript_is_replaced(files):
    """A runner whose lease has lapsed may have stored one."""
    files.store_transcript("job_1", b"first")
    files.store_transcript("job_1", b"second")
    assert files.load_transcript("job_1") == b"second"


def test_old_files_are_found(files):
    """Younger ones may be in use. Recordings and transcripts are different."""
    for name in ("job_1", "job_2"):
        files.store_audio(name, io.BytesIO(b"sound"))
    files.store_transcript("job_3", b"{}")
    assert list(files.old_audio(500)) == list(files.old_transcripts(500)) == []
    assert sorted(files.old_audio(-5)) == ["job_1", "job_2"]
    assert list(files.old_transcripts(-5)) == ["job_3"]


def test_a_copy_that_fails_leaves_nothing(files):
    """No reader sees part of a recording."""

    class Broken(io.BytesIO):
        def read(self, *_: object) -> bytes:
            raise OSError(28, "No space left on device")

    with pytest.raises(Unavailable):
        files.store_audio("job_1", Broken(b"sound"))
    with pytest.raises(FileMissing):
        files.open_audio("job_1")


def test_broken_uploads_in_a_directory_are_cleared_away(tmp_path):
    """A process that was killed has left them. Younger ones may be in use."""
    files = DirectoryFiles(tmp_path)
    for name in ("job_old", "job_new"):
        files.store_audio(name, io.BytesIO(b"sound"))
        (tmp_path / f"{name}.audio.7.part").touch()
    files.store_transcript("job_old", b"{}")
    then = time.time() - 1000
    for path in tmp_path.glob("job_old*"):
        os.utime(path, (then, then))
    assert list(files.old_audio(500)) == ["job_old"]
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["job_new.audio", "job_new.audio.7.part", "job_old.audio", "job_old.transcript.json"]


def test_a_directory_has_no_file_but_those_of_jobs(tmp_path):
    """What was deleted, or could not be stored, takes no space."""
    files = DirectoryFiles(tmp_path)
    files.store_audio("job_1", io.BytesIO(b"sound"))
    files.store_transcript("job_1", b"{}")
    files.delete("job_1")
    assert list(tmp_path.iterdir()) == []


def _refuses(files: JobFiles) -> bool:
    """Return True if every operation raises Unavailable, and False if none does."""
    operations: list[Callable[[], object]] = [
        lambda: files.store_audio("job_1", io.BytesIO(b"sound")),
        lambda: files.open_audio("job_1").close(),
        lambda: files.store_transcript("job_1", b"{}"),
        lambda: files.load_transcript("job_1"),
        lambda: files.old_audio(0),
        lambda: files.delete("job_1"),
    ]
    refused = []
    for each in operations:
        try:
            each()
            refused.append(False)
        except Unavailable:
            refused.append(True)
    assert len(set(refused)) == 1
    return refused[0]


def test_a_directory_that_is_not_mounted_is_a_503(tmp_path):
    """Nothing is written in its place, and no file counts as missing or deleted."""
    place = tmp_path / "mount"
    settings = load_settings({}, state_dir=tmp_path / "state", jobs_files=str(place))
    with capture_logs() as lines:
        opened = open_stores(settings)
    assert opened is not None
    store, files = opened
    assert [line["directory"] for line in lines] == [str(place)]
    assert _refuses(files)
    place.mkdir()
    assert not _refuses(files)
    store.close()


def test_an_empty_directory_in_place_of_the_mount_is_a_503(open_store, tmp_path):
    """The first process marks the directory. Without the marker, no process uses it, also after a restart."""
    place, disk = tmp_path / "mount", tmp_path / "disk"
    place.mkdir()
    for _ in range(2):  # two processes
        assert not _refuses(DirectoryFiles(place, Marker(place, open_store())))
    (marker,) = place.iterdir()
    running = DirectoryFiles(place, Marker(place, open_store()))
    running.store_transcript("job_2", b"{}")
    place.rename(disk)
    place.mkdir()
    assert _refuses(running)
    with capture_logs() as lines:
        assert _refuses(DirectoryFiles(place, Marker(place, open_store())))
    assert marker.name in lines[0]["error"]
    assert list(place.iterdir()) == []
    place.rmdir()
    disk.rename(place)
    assert running.load_transcript("job_2") == b"{}"
    assert not _refuses(running)


def test_processes_that_start_at_once_make_one_marker(open_store, tmp_path):
    """The one whose id the store takes first."""
    stores = [open_store() for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        all_files = [DirectoryFiles(tmp_path / "files", Marker(tmp_path / "files", each)) for each in stores]
        (tmp_path / "files").mkdir()
        list(pool.map(lambda files: files.old_audio(0), all_files))
    assert len(list((tmp_path / "files").iterdir())) == 1


def test_an_object_store_that_does_not_answer_is_a_503(s3, monkeypatch):
    """Also one that refuses the credentials."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(Unavailable):
        ObjectFiles(s3.url("x")).load_transcript("job_1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(Unavailable):
        ObjectFiles(s3.url("x")).store_transcript("job_1", b"{}")


class _NoSuchBucket(BaseHTTPRequestHandler):
    """Answers as S3 does without the bucket. The server of the other tests takes a missing bucket for an empty one."""

    def do_GET(self) -> None:
        body = b"<Error><Code>NoSuchBucket</Code><Message>The specified bucket does not exist</Message></Error>"
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_PUT = do_GET  # noqa: N815 - the name is http.server's

    def log_message(self, *_: object) -> None:
        """Be silent."""


def test_a_bucket_that_does_not_exist_is_a_503(monkeypatch):
    """No file counts as missing: a job would fail for good because of a wrong name or a deleted bucket."""
    with HTTPServer(("127.0.0.1", 0), _NoSuchBucket) as server:
        threading.Thread(target=server.serve_forever).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        files = ObjectFiles("s3://no-such-bucket/x")
        for each in (
            lambda: files.store_audio("job_1", io.BytesIO(b"sound")),
            lambda: files.open_audio("job_1"),
            lambda: files.store_transcript("job_1", b"{}"),
            lambda: files.load_transcript("job_1"),
            lambda: files.old_audio(0),
        ):
            with pytest.raises(Unavailable):
                each()
        server.shutdown()


@pytest.mark.parametrize("place", ["s3://", "ftp://host/x", "https://bucket.example.com/x"])
def test_a_place_that_cannot_be_used_is_an_error_of_the_settings(place):
    """The message has an example."""
    with pytest.raises(ConfigurationError, match="s3://bucket/prefix"):
        load_settings({"ASR_JOBS_FILES": place})
