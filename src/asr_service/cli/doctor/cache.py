"""`doctor`'s check of the cache of results."""

from contextlib import closing
from typing import Final

from asr_service.cli.doctor.findings import Finding, failure, ok, warning
from asr_service.errors import ConfigurationError
from asr_service.results.opening import open_store
from asr_service.results.redis import RedisStore
from asr_service.results.store import StoreFailed
from asr_service.settings import Settings

_TIMEOUT_S: Final = 5.0
_PROBE: Final = "doctor"


def check_cache(settings: Settings) -> list[Finding]:
    """Check that ASR_CACHE_URL, if it is set, stores and returns a value."""
    if settings.cache_url is None:
        return []
    try:
        with closing(open_store(settings, _TIMEOUT_S)) as store:
            store.store(_PROBE, b"", 1)
            store.delete(_PROBE)
            problems = store.server_warnings() if isinstance(store, RedisStore) else ()
    except ConfigurationError as error:
        return [failure("cache", error.message, "correct ASR_CACHE_URL, or install the packages")]
    except StoreFailed as error:
        return [warning("cache", f"the cache of results fails: {error}", "start Redis, or correct ASR_CACHE_URL")]
    fix = "set maxmemory and maxmemory-policy allkeys-lfu (docs/operations.md, Cache of results)"
    return [warning("cache", f"Redis: {each}", fix) for each in problems] or [ok("cache", "results can be stored")]
