"""Permits for decoding: a child runs only while its reader holds one."""

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count


class DecodePermits:
    """Limits how many children run at a time. The reader whose child has run for the shortest time comes first.

    Readers hold a permit for a fraction of a second and then ask for the next one. So a short file is decoded at once,
    however many files that take long are being decoded, and those share the rest evenly.
    """

    def __init__(self, n_permits: int) -> None:
        self._n_free = n_permits
        self._order = count()
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def acquire(self, used_s: float = 0.0) -> AsyncIterator[None]:
        """Wait for a permit and hold it until the context ends.

        `used_s` is how long this reader held permits so far.
        """
        await self._wait(used_s)
        try:
            yield
        finally:
            self._release()

    async def _wait(self, used_s: float) -> None:
        if self._n_free:
            self._n_free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (used_s, next(self._order), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._release()
            raise

    def _release(self) -> None:
        while self._waiting:
            turn = heapq.heappop(self._waiting)[2]
            if not turn.done():
                turn.set_result(None)
                return
        self._n_free += 1
