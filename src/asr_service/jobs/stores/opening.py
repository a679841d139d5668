"""Opens the stores that the settings name."""

from pathlib import Path

import structlog

from asr_service.errors import ConfigurationError
from asr_service.jobs.files import JobFiles
from asr_service.jobs.store import JobStore
from asr_service.jobs.stores.directory import DirectoryFiles
from asr_service.jobs.stores.marker import Marker
from asr_service.jobs.stores.objects import SCHEMES, ObjectFiles
from asr_service.jobs.stores.redis import RedisJobStore
from asr_service.jobs.stores.sqlite import SqliteJobStore
from asr_service.settings import Settings

log = structlog.get_logger(__name__)


def open_stores(settings: Settings) -> tuple[JobStore, JobFiles] | None:
    """Open the stores of records and of files; None if the service keeps no jobs.

    Raises ConfigurationError: settings contradict each other, or a directory or a URL cannot be used.
    """
    directory = None if settings.state_dir is None else _made(settings.state_dir / "jobs", "ASR_STATE_DIR")
    if settings.jobs_url is not None:
        store: JobStore = RedisJobStore(settings.jobs_url.get_secret_value(), settings.redis_prefix)
        return store, _open_files(settings.jobs_files, directory, store)
    if directory is not None:
        store = SqliteJobStore(directory / "jobs.sqlite3")
        return store, _open_files(settings.jobs_files, directory, store)
    if settings.jobs_files is not None:
        raise ConfigurationError(
            "ASR_JOBS_FILES is the place of the files of jobs. Their records also need a place: set ASR_JOBS_URL, or "
            "ASR_STATE_DIR for one machine.",
            param="ASR_JOBS_FILES",
        )
    return None


def _open_files(place: str | None, directory: Path | None, store: JobStore) -> JobFiles:
    if place is not None and place.startswith(SCHEMES):
        return ObjectFiles(place)
    if place is not None:
        return DirectoryFiles(_mounted(Path(place)), Marker(Path(place), store))
    if directory is not None:
        return DirectoryFiles(_made(directory / "files", "ASR_STATE_DIR"))
    raise ConfigurationError(
        "ASR_JOBS_URL is the place of the records of jobs. Their files also need a place: set ASR_JOBS_FILES to a URL "
        "such as s3://bucket/prefix, or to a directory that all machines share.",
        param="ASR_JOBS_URL",
    )


def _mounted(directory: Path) -> Path:
    """Return a directory that the operator has made. It is not made here, since it may be that a mount is missing."""
    if not directory.is_dir():
        log.error("the directory of ASR_JOBS_FILES does not exist; mount it, or make it once", directory=str(directory))
    return directory


def _made(directory: Path, setting: str) -> Path:
    """Make a directory that only this user can read, if it does not exist. Raises ConfigurationError."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigurationError(
            f"The directory {directory} cannot be used: {error.strerror}. Set {setting} to a directory that can be "
            "written.",
            param=setting,
        ) from error
    return directory
