"""Calls a store of results in threads, with a time limit, and not for a while after it has failed."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

import structlog

from asr_service import metrics, tasks
from asr_service.results.store import ClaimOutcome, Lease, ResultStore, StoreFailed
from asr_service.results.times import ResultTimes

log = structlog.get_logger(__name__)

Result = TypeVar("Result")

_THREADS: Final = 8


class GuardedStore:
    """The methods of a store for an event loop. Each raises StoreFailed within `timeout_s` if the store has failed.

    After a failure, every call fails at once for `pause_s`, so that a store that hangs does not delay each request.
    """

    def __init__(self, store: ResultStore, times: ResultTimes, slot: str) -> None:
        """Create the guard. `slot` is the label of `asr_cache_bytes`."""
        self._store = store
        self._times = times
        self._bytes = metrics.CACHE_BYTES.labels(slot)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="results")
        self._paused_until = 0.0
        self._releasing: set[asyncio.Task[None]] = set()
        self._sweeping: asyncio.Task[None] | None = None
        self._sweep_due = asyncio.Event()

    def start(self) -> None:
        """Begin to delete values at intervals, and when there are too many."""
        self._sweeping = asyncio.create_task(self._sweep_forever())

    async def _sweep_forever(self) -> None:
        while True:
            self._sweep_due.clear()
            try:  # it has no time limit, because no request waits for it
                await asyncio.get_running_loop().run_in_executor(self._threads, self._sweep)
            except StoreFailed as error:
                log.warning("the stored results cannot be swept", reason=str(error))
            except Exception:
                log.exception("the stored results cannot be swept")
            await tasks.wait_for_event(self._sweep_due, self._times.sweep_s)

    def _sweep(self) -> None:
        self._store.sweep()
        self._bytes.set(self._store.n_bytes())  # also of what earlier processes have stored

    async def load(self, key: str) -> bytes | None:
        return await self._call(self._store.load, key)

    async def claim(self, key: str, lease: Lease) -> ClaimOutcome:
        return await self._call(self._store.claim, key, lease, self._times.lease_s)

    async def renew(self, lease: Lease) -> bool:
        return await self._call(self._store.renew, lease, self._times.lease_s)

    async def store(self, key: str, value: bytes, ttl_s: float) -> None:
        await self._call(self._store.store, key, value, ttl_s)
        self._bytes.set(await self._call(self._store.n_bytes))
        if self._store.is_sweep_due():
            self._sweep_due.set()

    async def delete(self, key: str) -> None:
        await self._call(self._store.delete, key)

    def release_soon(
        self,
        lease: Lease,
        then: Callable[[], object] = lambda: None,
        *,
        after: "asyncio.Task[ClaimOutcome] | None" = None,
    ) -> None:
        """Give a lease back, without waiting. `then` is called afterwards, also if the store has failed.

        `after` is a claim of the lease that may still run: its thread must not take the lease after it was given back.
        """

        async def release() -> None:
            try:
                if after is not None:
                    await after
                await self._call(self._store.release, lease)
            except StoreFailed:
                pass  # then it expires
            finally:
                then()

        task = asyncio.create_task(release())
        self._releasing.add(task)
        task.add_done_callback(self._releasing.discard)

    async def close(self) -> None:
        if self._sweeping is not None:
            await tasks.cancel([self._sweeping])
        if self._releasing:
            await asyncio.wait(self._releasing)
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._store.close()

    async def _call(self, method: Callable[..., Result], *args: object) -> Result:
        if time.monotonic() < self._paused_until:
            raise StoreFailed("The last call failed.")
        try:
            async with asyncio.timeout(self._times.timeout_s):
                return await asyncio.get_running_loop().run_in_executor(self._threads, partial(method, *args))
        except TimeoutError as error:
            failure = StoreFailed(f"It did not answer within {self._times.timeout_s:g} s.")
            self._note(failure)
            raise failure from error
        except StoreFailed as error:
            self._note(error)
            raise

    def _note(self, failure: StoreFailed) -> None:
        metrics.CACHE_ERRORS.labels("unavailable").inc()
        if time.monotonic() >= self._paused_until:
            log.warning("the cache of results has failed", reason=str(failure))
        self._paused_until = time.monotonic() + self._times.pause_s
