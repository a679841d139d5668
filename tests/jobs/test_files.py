"""The files of jobs in a directory."""

import io
import os
import time

import pytest

from asr_service.errors import Unavailable
from asr_service.jobs.files import DirectoryFiles, FileMissing


def test_recordings_and_transcripts_are_stored_and_deleted(tmp_path):
    """The recording of an ended job goes first."""
    files = DirectoryFiles(tmp_path)
    source = io.BytesIO(b"sound")
    source.seek(3)  # the whole recording is stored, wherever its reader was
    assert files.store_audio("job_1", source) == 5
    files.store_transcript("job_1", b"{}")
    with files.open_audio("job_1") as audio:
        assert audio.read() == b"sound"
    files.delete_audio("job_1")
    with pytest.raises(FileMissing):
        files.open_audio("job_1")
    assert files.load_transcript("job_1") == b"{}"
    files.delete("job_1")
    with pytest.raises(FileMissing):
        files.load_transcript("job_1")
    files.delete("job_1")
    assert list(tmp_path.iterdir()) == []


def test_a_copy_that_fails_leaves_nothing(tmp_path):
    """No reader sees part of a recording, and no file of it stays on the disk."""

    class Broken(io.BytesIO):
        def read(self, *_: object) -> bytes:
            raise OSError(28, "No space left on device")

    with pytest.raises(Unavailable):
        DirectoryFiles(tmp_path).store_audio("job_1", Broken())
    assert list(tmp_path.iterdir()) == []


def test_old_recordings_are_found_and_broken_uploads_cleared_away(tmp_path):
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
