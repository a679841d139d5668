"""Turns at decoding: no more files at a time than there are cores for, first come first served."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

_TURN_S: Final = 1.0


class Turns:
    """Places for those who wait for samples. A child whose reader is busy elsewhere sleeps, and takes none.

    Who waits longer than `turn_s` goes on without a place: a slow or hung file holds nobody up for more than that.
    """

    def __init__(self, n_places: int, *, turn_s: float = _TURN_S) -> None:
        self._places = asyncio.Semaphore(n_places)
        self._turn_s = turn_s

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a place and have it."""
        await self._places.acquire()
        place = _Place(self._places)
        end = asyncio.get_running_loop().call_later(self._turn_s, place.give_back)
        try:
            yield
        finally:
            end.cancel()
            place.give_back()


class _Place:
    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places = places
        self._is_held = True

    def give_back(self) -> None:
        if self._is_held:
            self._is_held = False
            self._places.release()
