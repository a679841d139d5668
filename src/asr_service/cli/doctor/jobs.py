"""`doctor`'s checks of the places of jobs: their directory, or the Redis and the store of files of several machines."""

import os
import shutil
from contextlib import closing
from pathlib import Path
from typing import Final

from asr_service.cli.doctor.findings import Finding, failure, gigabytes, ok, warning
from asr_service.errors import ConfigurationError, Unavailable
from asr_service.jobs.stores.marker import marker_name
from asr_service.jobs.stores.objects import SCHEMES, ObjectFiles
from asr_service.jobs.stores.redis import RedisJobStore
from asr_service.jobs.stores.redis.server import server_warnings
from asr_service.redis_client import open_redis, redis_errors_as_unavailable
from asr_service.settings import Settings

_TIMEOUT_S: Final = 5.0
_LITTLE_DISK_BYTES: Final = 256 * 1024**2


def check_jobs(settings: Settings) -> list[Finding]:
    """Check ASR_STATE_DIR, ASR_JOBS_URL and ASR_JOBS_FILES, if they are set."""
    return [*_check_state(settings), *_check_redis(settings), *_check_files(settings)]


def _check_state(settings: Settings) -> list[Finding]:
    """Check the disk of jobs. The service makes the directory if it is missing."""
    if settings.state_dir is None:
        return []
    place = settings.state_dir
    there = next(each for each in (place / "jobs", place, *place.absolute().parents) if each.is_dir())
    if not os.access(there, os.W_OK):
        return [failure("jobs", f"{there} cannot be written", "correct its owner, its mode or its mount")]
    free_bytes = shutil.disk_usage(there).free
    message = f"{place} has {gigabytes(free_bytes)} free for jobs"
    if free_bytes < _LITTLE_DISK_BYTES:
        return [failure("jobs", message, "free some space, or set ASR_STATE_DIR to a directory on a larger disk")]
    return [ok("jobs", message)]


def _check_redis(settings: Settings) -> list[Finding]:
    if settings.jobs_url is None:
        return []
    url = settings.jobs_url.get_secret_value()
    try:
        with (
            closing(open_redis(url, setting="ASR_JOBS_URL", timeout_s=_TIMEOUT_S, text=True)) as client,
            redis_errors_as_unavailable("Redis does not answer"),
        ):
            found = server_warnings(client)
    except ConfigurationError as error:
        return [failure("jobs", error.message, "correct ASR_JOBS_URL, or install the packages")]
    except Unavailable as error:
        return [failure("jobs", f"{error.message}: {error.__cause__}", "start Redis, or correct ASR_JOBS_URL")]
    return [_warning_of(each) for each in found] or [ok("jobs", "Redis answers and keeps what it gets")]


def _warning_of(found: str) -> Finding:
    problem, _, fix = found.partition("; ")
    return warning("jobs", f"Redis: {problem}", f"{fix} (docs/operations.md, Jobs on several machines)")


def _check_files(settings: Settings) -> list[Finding]:
    place = settings.jobs_files
    if place is None:
        return []
    return _check_objects(place) if place.startswith(SCHEMES) else _check_directory(Path(place), settings)


def _check_directory(place: Path, settings: Settings) -> list[Finding]:
    if not place.is_dir():
        return [failure("jobs", f"{place} does not exist", "mount it, or make it once")]
    if settings.jobs_url is None:
        return []
    try:
        with closing(RedisJobStore(settings.jobs_url.get_secret_value(), settings.redis_prefix)) as store:
            files_id = store.files_id()
    except (ConfigurationError, Unavailable):  # there is a finding about Redis
        return []
    if files_id and not (place / marker_name(files_id)).exists():
        problem = f"{place} has no file {marker_name(files_id)}, so it is not the directory of the jobs in Redis"
        return [failure("jobs", problem, "mount it, or create the file if the others are lost")]
    return [ok("jobs", f"{place} is the directory of the jobs in Redis")] if files_id else []


def _check_objects(place: str) -> list[Finding]:
    try:
        ObjectFiles(place).old_audio(0)
    except ConfigurationError as error:
        return [failure("jobs", error.message, "correct ASR_JOBS_FILES, or install the packages")]
    except Unavailable as error:
        reason = str(error.__cause__).splitlines()[0]
        return [failure("jobs", f"{place} cannot be read: {reason}", "correct ASR_JOBS_FILES or the credentials")]
    return [ok("jobs", f"{place} can be read")]
