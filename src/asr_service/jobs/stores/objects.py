"""Recordings and transcripts in an object store: S3 and what is compatible with it, Google Cloud Storage, or Azure."""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import BinaryIO, Final, cast

import structlog

from asr_service.errors import ConfigurationError, Unavailable
from asr_service.extras import install_command
from asr_service.jobs.files import FileMissing

log = structlog.get_logger(__name__)

SCHEMES: Final = ("s3://", "gs://", "az://")
_AUDIO: Final = "audio"
_TRANSCRIPTS: Final = "transcripts"
_PART_BYTES: Final = 8 * 1024 * 1024
_PARALLEL_PARTS: Final = 2
_ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_CONNECT_TIMEOUT: Final = timedelta(seconds=5)
_READ_TIMEOUT: Final = timedelta(seconds=30)
_REQUEST_TIMEOUT: Final = timedelta(minutes=15)
"""The maximum time of one request, such as the download of a recording."""
_RETRY_TIMEOUT: Final = timedelta(seconds=15)


class ObjectFiles:
    """Implements `JobFiles` in a bucket or container.

    Recordings are uploaded and downloaded in parts, so that little of them is in memory. A runner reads a recording
    from a temporary file.
    """

    def __init__(self, url: str) -> None:
        """Open the store of a URL such as s3://bucket/prefix. It connects when it is first used.

        Raises ConfigurationError: the packages are not installed, or the URL or the credentials are not valid.
        """
        try:
            import obstore  # noqa: PLC0415  # an optional dependency
            from obstore.exceptions import BaseError  # noqa: PLC0415
            from obstore.store import from_url  # noqa: PLC0415
        except ImportError as error:
            raise ConfigurationError(
                f"ASR_JOBS_FILES needs further packages: {install_command('cluster')}", param="ASR_JOBS_FILES"
            ) from error
        self._objects = obstore
        self._error = BaseError
        try:
            self._store = from_url(
                url,
                client_options={
                    "allow_http": any(os.environ.get(name, "").startswith("http://") for name in _ENDPOINTS),
                    "connect_timeout": _CONNECT_TIMEOUT,
                    "read_timeout": _READ_TIMEOUT,
                    "timeout": _REQUEST_TIMEOUT,
                },
                retry_config={"max_retries": 3, "retry_timeout": _RETRY_TIMEOUT},
            )
        except (BaseError, ValueError) as error:
            raise ConfigurationError(
                f"ASR_JOBS_FILES={url!r} is not valid: {error}.", param="ASR_JOBS_FILES"
            ) from error

    def store_audio(self, job_id: str, source: BinaryIO) -> int:
        with self._as_unavailable():
            n_bytes = source.seek(0, os.SEEK_END)
            source.seek(0)
            self._objects.put(
                self._store, _audio(job_id), source, chunk_size=_PART_BYTES, max_concurrency=_PARALLEL_PARTS
            )
            return n_bytes

    def open_audio(self, job_id: str) -> BinaryIO:
        with self._reading(), contextlib.ExitStack() as on_failure:
            parts = self._objects.get(self._store, _audio(job_id)).stream(min_chunk_size=_PART_BYTES)
            file = on_failure.enter_context(tempfile.TemporaryFile())
            for part in parts:
                file.write(part)
            file.flush()
            file.seek(0)
            on_failure.pop_all()
            return cast("BinaryIO", file)

    def store_transcript(self, job_id: str, data: bytes) -> None:
        with self._as_unavailable():
            self._objects.put(self._store, _transcript(job_id), data)

    def load_transcript(self, job_id: str) -> bytes:
        with self._reading():
            return bytes(self._objects.get(self._store, _transcript(job_id)).bytes())

    def delete_audio(self, job_id: str) -> None:
        self._delete(_audio(job_id))

    def delete(self, job_id: str) -> None:
        self._delete(_audio(job_id))
        self._delete(_transcript(job_id))

    def _delete(self, path: str) -> None:
        with self._as_unavailable(), contextlib.suppress(FileNotFoundError):
            self._objects.delete(self._store, path)

    def old_audio(self, min_age_s: float) -> Sequence[str]:
        """Return the ids of old recordings. Incomplete uploads are for a lifecycle rule of the bucket."""
        return self._old(_AUDIO, min_age_s)

    def old_transcripts(self, min_age_s: float) -> Sequence[str]:
        """Return the ids of old transcripts. Incomplete uploads are for a lifecycle rule of the bucket."""
        return [name.removesuffix(".json") for name in self._old(_TRANSCRIPTS, min_age_s)]

    def _old(self, folder: str, min_age_s: float) -> Sequence[str]:
        since = time.time() - min_age_s
        with self._as_unavailable():
            return [
                found["path"].removeprefix(f"{folder}/")
                for page in self._objects.list(self._store, folder)
                for found in page
                if found["last_modified"].timestamp() <= since
            ]

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """Raise FileMissing for an object that does not exist in a bucket that does."""
        with self._as_unavailable():
            try:
                yield
            except FileNotFoundError as error:
                for _ in self._objects.list(self._store, _AUDIO, chunk_size=1):  # it fails without the bucket
                    break
                raise FileMissing(_reason(error)) from error

    @contextlib.contextmanager
    def _as_unavailable(self) -> Iterator[None]:
        try:
            yield
        except (OSError, self._error) as error:
            log.error("a job's file cannot be stored or read", error=_reason(error))  # noqa: TRY400 - the traceback adds nothing
            raise Unavailable("The service cannot store or read files at the moment. Try again later.") from error


def _reason(error: Exception) -> str:
    """Return the message of an error without the details for developers of the library, which follow it."""
    return str(error).partition("\n")[0]


def _audio(job_id: str) -> str:
    return f"{_AUDIO}/{job_id}"


def _transcript(job_id: str) -> str:
    return f"{_TRANSCRIPTS}/{job_id}.json"
