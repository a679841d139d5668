"""The connection to Redis, and the scripts that run there."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any, Final, Literal, get_args

import structlog

from asr_service.errors import Unavailable
from asr_service.jobs.stores.redis.server import server_warnings
from asr_service.redis_client import open_redis, redis_errors_as_unavailable

log = structlog.get_logger(__name__)

Part = Literal["callers", "runners", "deliveries", "sweeping"]

_TIMEOUT_S: Final = 5.0
_UNAVAILABLE: Final = "The service cannot reach the records of its jobs at the moment. Try again later."
_NEWER: Final = "NEWERVERSION"


class Database:
    """A client of one Redis, which threads may share. Each operation is one script, which Redis runs as one step.

    A script uses keys that it computes from records, so the records need one Redis and not a Redis Cluster.
    """

    def __init__(self, url: str, prefix: str) -> None:
        """Open the client. It connects at the first operation. Raises ConfigurationError: the URL is not valid."""
        self._client = open_redis(url, setting="ASR_JOBS_URL", timeout_s=_TIMEOUT_S, text=True)
        self._prefix = f"{prefix}:jobs:"
        self._scripts = {part: self._client.register_script(_source(part)) for part in get_args(Part)}
        self._is_checked = False
        self._is_down = False

    def close(self) -> None:
        self._client.close()

    def _run(self, part: Part, operation: str, **given: object) -> Any:
        """Run an operation of a script. Its parameters are text, numbers, lists and mappings; None is absent."""
        parameters = json.dumps(_as_text(given))
        with self._reaching():
            return self._scripts[part](keys=[self._prefix], args=[operation, parameters])

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        """Raise Unavailable instead of an error of Redis. Log the begin and the end of an outage."""
        try:
            with redis_errors_as_unavailable(_UNAVAILABLE):
                yield
        except Unavailable as error:
            self._note_failure(error.__cause__)
            raise
        self._note_success()

    def _note_success(self) -> None:
        if self._is_down:
            self._is_down = False
            log.info("the jobs' records can be used again")
        if not self._is_checked:
            self._is_checked = True
            with contextlib.suppress(Unavailable), redis_errors_as_unavailable(_UNAVAILABLE):
                for warning in server_warnings(self._client):
                    log.warning("the Redis of ASR_JOBS_URL may lose jobs", reason=warning)

    def _note_failure(self, reason: BaseException | None) -> None:
        """Log the beginning of an outage, and not each of its errors: runners ask again every half second."""
        if _NEWER in str(reason):
            log.error("the jobs' records are of a newer asr-service", reason=str(reason))
        elif not self._is_down:
            log.error("the jobs' records cannot be used", error=f"{type(reason).__name__}: {reason}")
        self._is_down = True


def _source(part: Part) -> str:
    here = files(__package__)
    parts = [(here / f"{name}.lua").read_text("utf-8") for name in ("common", part)]
    return "\n".join([*parts, "return operations[ARGV[1]]()"])


def _as_text(value: object) -> object:
    """Return a value for JSON. Lua would shorten numbers with more than 14 digits, so they are text."""
    match value:
        case str():
            return str(value)
        case Mapping():
            return {name: _as_text(each) for name, each in value.items() if each is not None}
        case Sequence():
            return [_as_text(each) for each in value]
        case _:
            return repr(value)
