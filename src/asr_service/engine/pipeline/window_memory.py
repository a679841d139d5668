"""Limits the host memory of the windows of all requests of a slot: their samples, features and encodings."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class MemoryShare:
    """What one request holds of a `WindowMemory`."""

    is_bulk: bool = False
    n_windows: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    share: MemoryShare
    granted: asyncio.Future[None]

    @property
    def rank(self) -> tuple[bool, bool, int]:
        return self.share.n_windows > 0, self.share.is_bulk, self.share.n_windows


class WindowMemory:
    """Lets the windows of all requests begin while their memory stays within a limit. Used on one event loop.

    One window of each request may always begin, so that every request advances. When memory becomes free, it goes to
    the request that has the fewest windows, and to a bulk request only if no other request waits.
    """

    def __init__(self, limit_bytes: int, window_bytes: int, on_change: Callable[[int], None] = lambda _: None) -> None:
        """Limit the memory of windows of `window_bytes` each.

        `on_change` is called with the bytes in use whenever they change.
        """
        self._max_windows = limit_bytes // window_bytes
        self._window_bytes = window_bytes
        self._on_change = on_change
        self._n_windows = 0
        self._waiting: list[_Waiter] = []

    async def take(self, share: MemoryShare) -> None:
        """Wait until one more window of the request may begin. `give_back` must follow."""
        if not share.n_windows or (not self._waiting and self._n_windows < self._max_windows):
            self._count(share, 1)
            return
        waiter = _Waiter(share, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        try:
            await waiter.granted
        except asyncio.CancelledError:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            else:  # it was granted just before
                self.give_back(share)
            raise

    def give_back(self, share: MemoryShare) -> None:
        """Free the memory of one window, which has ended."""
        self._count(share, -1)
        while waiting := [waiter for waiter in self._waiting if not waiter.granted.cancelled()]:
            waiter = min(waiting, key=lambda waiter: waiter.rank)
            if waiter.share.n_windows and self._n_windows >= self._max_windows:
                return
            self._waiting.remove(waiter)
            self._count(waiter.share, 1)
            waiter.granted.set_result(None)

    @asynccontextmanager
    async def window(self, share: MemoryShare) -> AsyncIterator[None]:
        """Hold the memory of one window while the context lasts."""
        await self.take(share)
        try:
            yield
        finally:
            self.give_back(share)

    def _count(self, share: MemoryShare, change: int) -> None:
        share.n_windows += change
        self._n_windows += change
        self._on_change(self._n_windows * self._window_bytes)
