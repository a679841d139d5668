"""Cancellation of asyncio tasks."""

import asyncio

import pytest

from asr_service import tasks


async def test_an_event_that_is_set_does_not_hide_a_cancellation() -> None:
    """Otherwise a loop goes on for ever that was cancelled once."""
    event = asyncio.Event()
    waiting = asyncio.create_task(tasks.wait_for_event(event, 60.0))
    await asyncio.sleep(0)
    event.set()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_the_wait_for_an_event_ends_with_it_or_after_its_time() -> None:
    event = asyncio.Event()
    await tasks.wait_for_event(event, 0.0)
    waiting = asyncio.create_task(tasks.wait_for_event(event, 3600.0))
    await asyncio.sleep(0)
    event.set()
    async with asyncio.timeout(60):
        await waiting
