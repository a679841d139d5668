"""Limits the number of concurrent uploads of one caller, so that slow ones cannot use up a slot's open requests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from asr_service.access.caller import Caller
from asr_service.errors import CallerLimit


@dataclass(slots=True)
class _Turns:
    free: asyncio.Semaphore
    n_requests: int = 0


class UploadTurns:
    """Lets a caller's uploads begin in the order of their requests, a few at a time. Used on one event loop."""

    def __init__(self, *, max_per_caller: int, timeout_s: float) -> None:
        """`timeout_s` is how long an upload waits for its turn."""
        self._max_per_caller = max_per_caller
        self._timeout_s = timeout_s
        self._turns: dict[Caller, _Turns] = {}

    @asynccontextmanager
    async def turn(self, caller: Caller) -> AsyncIterator[None]:
        """Wait until the caller may upload, and count its upload until the context ends.

        Raises CallerLimit: none of the caller's other uploads ended in time.
        """
        turns = self._turns.setdefault(caller, _Turns(asyncio.Semaphore(self._max_per_caller)))
        turns.n_requests += 1
        try:
            await self._wait(turns)
            try:
                yield
            finally:
                turns.free.release()
        finally:
            turns.n_requests -= 1
            if not turns.n_requests:
                del self._turns[caller]

    async def _wait(self, turns: _Turns) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await turns.free.acquire()
        except TimeoutError as error:
            raise CallerLimit(
                f"You have {self._max_per_caller} uploads under way, which is the limit, and none of them ended within "
                f"{self._timeout_s:.0f} s. Try again later."
            ) from error
