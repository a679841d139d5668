"""Permits for decoding: at most one waiting reader per permit, in order of arrival."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

_MAX_HOLD_S: Final = 1.0


class DecodePermits:
    """Limits how many readers wait for samples at a time. First come, first served.

    Only a reader that waits for samples holds a permit; between reads its child sleeps. A permit expires after
    `max_hold_s`, and the reader goes on without it. So a slow or hung file delays the others by no more than that.
    """

    def __init__(self, n_permits: int, *, max_hold_s: float = _MAX_HOLD_S) -> None:
        self._semaphore = asyncio.Semaphore(n_permits)
        self._max_hold_s = max_hold_s

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[None]:
        """Wait for a permit and hold it until the context ends or the permit expires."""
        await self._semaphore.acquire()
        permit = _Permit(self._semaphore)
        expiry = asyncio.get_running_loop().call_later(self._max_hold_s, permit.release)
        try:
            yield
        finally:
            expiry.cancel()
            permit.release()


class _Permit:
    def __init__(self, semaphore: asyncio.Semaphore) -> None:
        self._semaphore = semaphore
        self._is_held = True

    def release(self) -> None:
        if self._is_held:
            self._is_held = False
            self._semaphore.release()
