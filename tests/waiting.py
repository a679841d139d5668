"""Waiting for what another thread or process does."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(look: Callable[[], T | None], within_s: float = 60, what: str = "it", every_s: float = 0.01) -> T:
    """Wait for a true answer."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(every_s)
    raise AssertionError(f"{what} did not come about within {within_s} s")


async def until_async(holds: Callable[[], object]) -> None:
    """Wait until the condition holds. Raises TimeoutError: it does not within a minute."""
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - threads and other processes change it
            await asyncio.sleep(0.005)
