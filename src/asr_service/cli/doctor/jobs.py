"""`doctor`'s checks of the places that several machines share: the Redis of jobs and the store of their files."""

from contextlib import closing
from pathlib import Path
from typing import Final

from asr_service.cli.doctor.findings import Finding, failure, ok, warning
from asr_service.errors import ConfigurationError, Unavailable
from asr_service.jobs.stores.marker import marker_name
from asr_service.jobs.stores.objects import SCHEMES, ObjectFiles
from asr_service.jobs.stores.redis import RedisJobStore
from asr_service.jobs.stores.redis.server import server_warnings
from asr_service.redis_client import open_redis, redis_errors_as_unavailable
from asr_service.settings import Settings

_TIMEOUT_S: Final = 5.0


def check_jobs(settings: Settings) -> list[Finding]:
    """Check ASR_JOBS_URL and ASR_JOBS_FILES, if they are set."""
    return [*_check_redis(settings), *_check_files(settings)]


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
