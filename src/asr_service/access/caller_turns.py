"""Limits how much of one kind of work one caller may have under way, so that it leaves room for other callers."""

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


class CallerTurns:
    """Lets a caller's work begin in the order of its requests, a few at a time. Used on one event loop."""

    def __init__(self, work: str, *, max_per_caller: int, timeout_s: float) -> None:
        """Configure the turns. `work` names it in errors, in the plural. `timeout_s` is how long a request waits."""
        self._work = work
        self._max_per_caller = max_per_caller
        self._timeout_s = timeout_s
        self._turns: dict[Caller, _Turns] = {}

    @asynccontextmanager
    async def turn(self, caller: Caller) -> AsyncIterator[None]:
        """Wait until the caller may do this work, and count it until the context ends.

        Raises CallerLimit: nothing that the caller has under way ended in time.
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
                f"You have as many {self._work} under way as one caller may ({self._max_per_caller}), and none of them "
                f"ended within {self._timeout_s:.0f} s. Try again later."
            ) from error
