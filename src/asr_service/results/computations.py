"""Computes a value once for all requests that need it at the same time, over all processes that share a store."""

import asyncio
import math
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from asr_service import tasks
from asr_service.results.guarded import GuardedStore
from asr_service.results.store import Claimed, Found, Held, Lease, StoreFailed
from asr_service.results.times import ResultTimes
from asr_service.stages import stage

_POLL_GROWTH: Final = 1.5
_RENEWALS_PER_LEASE: Final = 3


class Computations:
    """Lets one computation of a value run while others wait for it. Used on one event loop."""

    def __init__(self, store: GuardedStore, times: ResultTimes) -> None:
        self._store = store
        self._times = times
        self._own: dict[str, asyncio.Event] = {}
        """The leases that this process holds. The event is set when a lease has been given back."""

    @asynccontextmanager
    async def turn(
        self,
        key: str,
        *,
        lane: str = "",
        note: str = "",
        on_held: Callable[[str], object] = lambda _: None,
        wait_s: float = math.inf,
    ) -> AsyncIterator[bytes | None]:
        """Yield the value or, if it must be computed, None. Then the caller stores it before the context ends.

        While another computation of the same lane runs, this waits for it. If that ends without a value, or its process
        dies, one of those that wait computes next. Yields None also if the store fails, or after `wait_s`.

        `on_held` is called with the `note` of the computation that this waits for, and may raise an error.
        """
        lease = Lease(f"{key}-{lane}" if lane else key, secrets.token_hex(8), note)
        with stage("cache"):
            claim = await self._claim(key, lease, on_held, wait_s)
        if not isinstance(claim, Claimed):
            yield claim.value if isinstance(claim, Found) else None
            return
        released = self._own[lease.name] = asyncio.Event()
        renewing = asyncio.create_task(self._renew(lease))
        try:
            yield None
        finally:
            renewing.cancel()
            self._store.release_soon(lease, lambda: self._forget(lease.name, released))
            await tasks.cancel([renewing])

    async def _claim(
        self, key: str, lease: Lease, on_held: Callable[[str], object], wait_s: float
    ) -> Found | Claimed | None:
        until, poll_s = time.monotonic() + wait_s, self._times.min_poll_s
        while True:
            claiming = asyncio.create_task(self._store.claim(key, lease))
            try:
                claim = await asyncio.shield(claiming)
            except StoreFailed:
                return None
            except asyncio.CancelledError:
                self._store.release_soon(lease, after=claiming)  # it may still succeed
                raise
            if not isinstance(claim, Held):
                return claim
            on_held(claim.note)
            if time.monotonic() >= until:
                return None
            await self._pause(lease.name, poll_s)
            poll_s = min(poll_s * _POLL_GROWTH, self._times.max_poll_s)

    async def _pause(self, name: str, poll_s: float) -> None:
        """Wait until this process gives the lease back or, if another process may hold it, for `poll_s`."""
        released = self._own.get(name)
        if released is None:
            await asyncio.sleep(poll_s)
        else:
            await tasks.wait_for_event(released, self._times.max_poll_s)

    async def _renew(self, lease: Lease) -> None:
        """Renew the lease until it is lost."""
        is_held = True
        while is_held:
            await asyncio.sleep(self._times.lease_s / _RENEWALS_PER_LEASE)
            try:
                is_held = await self._store.renew(lease)
            except StoreFailed:
                continue

    def _forget(self, name: str, released: asyncio.Event) -> None:
        if self._own.get(name) is released:
            del self._own[name]
        released.set()
