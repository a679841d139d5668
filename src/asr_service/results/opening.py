"""Opens the store of results that the settings name."""

from dataclasses import dataclass
from typing import Final

from asr_service import metrics
from asr_service.errors import ConfigurationError
from asr_service.results.cache import ResultCache
from asr_service.results.computations import Computations
from asr_service.results.directory import DirectoryStore
from asr_service.results.guarded import GuardedStore
from asr_service.results.memory import MemoryStore
from asr_service.results.outcomes import SharedOutcomes
from asr_service.results.redis import RedisStore
from asr_service.results.store import ResultStore
from asr_service.results.times import ResultTimes
from asr_service.setting_types import CACHE_IN_MEMORY
from asr_service.settings import Settings, cache_directory

_SETTING: Final = "ASR_CACHE_URL"
_MACHINE: Final = "machine"
"""The label `slot` of a directory: each slot of the machine knows its size."""
_SHARED: Final = "shared"
"""The label `slot` of a Redis: each slot of all machines knows its size."""


@dataclass(frozen=True, slots=True)
class Results:
    """What slots keep of the work that they have done."""

    cache: ResultCache
    outcomes: SharedOutcomes
    _store: GuardedStore

    def start(self) -> None:
        """Begin to delete expired results. Call it on the event loop."""
        self._store.start()

    async def close(self) -> None:
        await self._store.close()


def open_results(settings: Settings, slot: int, times: ResultTimes) -> Results | None:
    """Open the store in ASR_CACHE_URL; None without one. Raises ConfigurationError: it cannot be used."""
    if settings.cache_url is None:
        return None
    metrics.show_cache_counters()
    url = settings.cache_url.get_secret_value()
    shared_by = _SHARED if cache_directory(settings) is None else _MACHINE
    label = str(slot) if url == CACHE_IN_MEMORY else shared_by
    store = GuardedStore(open_store(settings, times.timeout_s), times, label)
    computations = Computations(store, times)
    return Results(
        ResultCache(store, computations, settings.cache_ttl_s),
        SharedOutcomes(store, computations, settings.idempotency_window_s),
        store,
    )


def open_store(settings: Settings, timeout_s: float) -> ResultStore:
    """Open the store in ASR_CACHE_URL, which must be set. Raises ConfigurationError: it cannot be used.

    `timeout_s` is the maximum time of a call of Redis.
    """
    url = "" if settings.cache_url is None else settings.cache_url.get_secret_value()
    directory = cache_directory(settings)
    if url == CACHE_IN_MEMORY:
        return MemoryStore(settings.cache_max_bytes)
    if directory is None:
        return RedisStore(url, setting=_SETTING, prefix=settings.redis_prefix, timeout_s=timeout_s)
    try:
        return DirectoryStore(directory, settings.cache_max_bytes)
    except OSError as error:
        raise ConfigurationError(
            f"The directory {directory} cannot be used: {error.strerror}. Set {_SETTING} to a directory that can be "
            "written.",
            param=_SETTING,
        ) from error
