"""Recordings and transcripts in a directory."""

import contextlib
import errno
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import structlog

from asr_service.errors import Unavailable
from asr_service.jobs.files import FileMissing
from asr_service.jobs.stores.marker import Marker

log = structlog.get_logger(__name__)

_AUDIO: Final = ".audio"
_TRANSCRIPT: Final = ".transcript.json"
_PART: Final = ".part"
_COPY_BYTES: Final = 1024 * 1024


class DirectoryFiles:
    """Implements `JobFiles` in one directory, which several machines may share.

    While the directory does not exist or has no marker, as without its mount, every method raises Unavailable.
    """

    def __init__(self, directory: Path, marker: Marker | None = None) -> None:
        """Use a directory. Without `marker`, any directory of this path is the right one."""
        self._directory = directory
        self._marker = marker

    def store_audio(self, job_id: str, source: BinaryIO) -> int:
        with self._using(), self._writing(job_id + _AUDIO) as target:
            source.seek(0)
            shutil.copyfileobj(source, target, _COPY_BYTES)
            return target.tell()

    def open_audio(self, job_id: str) -> BinaryIO:
        with self._file_errors():
            return (self._directory / (job_id + _AUDIO)).open("rb")

    def store_transcript(self, job_id: str, data: bytes) -> None:
        with self._using(), self._writing(job_id + _TRANSCRIPT) as target:
            target.write(data)

    def load_transcript(self, job_id: str) -> bytes:
        with self._file_errors():
            return (self._directory / (job_id + _TRANSCRIPT)).read_bytes()

    def delete_audio(self, job_id: str) -> None:
        self._delete(job_id + _AUDIO)

    def delete(self, job_id: str) -> None:
        self.delete_audio(job_id)
        self._delete(job_id + _TRANSCRIPT)

    def _delete(self, name: str) -> None:
        with contextlib.suppress(FileMissing), self._file_errors():
            (self._directory / name).unlink()

    def old_audio(self, min_age_s: float) -> Sequence[str]:
        return self._old(_AUDIO, min_age_s)

    def old_transcripts(self, min_age_s: float) -> Sequence[str]:
        return self._old(_TRANSCRIPT, min_age_s)

    def _old(self, suffix: str, min_age_s: float) -> Sequence[str]:
        since = time.time() - min_age_s
        found = []
        with self._using(), os.scandir(self._directory) as entries:
            for entry in entries:
                if not entry.name.endswith((suffix, _PART)):
                    continue
                with contextlib.suppress(FileNotFoundError):  # another process has deleted it meanwhile
                    if entry.stat().st_mtime > since:
                        continue
                    if entry.name.endswith(_PART):
                        Path(entry.path).unlink()
                    else:
                        found.append(entry.name.removesuffix(suffix))
        return found

    @contextlib.contextmanager
    def _file_errors(self) -> Iterator[None]:
        """Raise FileMissing for a file that is not in the directory."""
        with self._using():
            try:
                yield
            except FileNotFoundError as error:
                self._check()  # it may have been unmounted meanwhile
                raise FileMissing(str(error)) from error

    @contextlib.contextmanager
    def _using(self) -> Iterator[None]:
        with _as_unavailable():
            self._check()
            yield

    def _check(self) -> None:
        """Raise OSError: this is not the directory of these jobs. Raises Unavailable."""
        if self._marker is not None:
            self._marker.check()
        elif not self._directory.is_dir():
            raise FileNotFoundError(errno.ENOENT, f"{self._directory} does not exist")

    @contextlib.contextmanager
    def _writing(self, name: str) -> Iterator[BinaryIO]:
        """Write a file. It appears under its name only when it is complete and on the disk."""
        part = self._directory / f"{name}.{secrets.token_hex(4)}{_PART}"
        try:
            with part.open("wb") as target:
                yield target
                target.flush()
                os.fsync(target.fileno())
            part.rename(self._directory / name)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _as_unavailable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        log.error("a job's file cannot be stored or read", error=repr(error))  # noqa: TRY400 - the traceback adds nothing
        raise Unavailable("The service cannot store or read files at the moment. Try again later.") from error
