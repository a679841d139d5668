"""Cancels asyncio tasks, and waits for events, so that a cancellation always has its effect."""

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any


async def cancel(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel the tasks and wait until all have ended and released their resources. Their errors are ignored."""
    cancelled = list(tasks)
    for task in cancelled:
        task.cancel()
    await asyncio.gather(*cancelled, return_exceptions=True)


async def wait_for_event(event: asyncio.Event, timeout_s: float) -> None:
    """Wait until the event is set, but no longer than `timeout_s`.

    A cancellation at the moment when the event is set ends the task. In Python 3.11 `asyncio.wait_for` would ignore it.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
