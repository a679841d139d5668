"""The work of one caller that may be under way."""

import asyncio

import pytest

from asr_service.access.caller import Caller
from asr_service.access.caller_turns import CallerTurns
from asr_service.errors import CallerLimit

ALICE, BOB = Caller("alice"), Caller("bob")


async def test_an_upload_past_the_limit_waits_until_another_ends():
    """Uploads of other callers do not wait. Nothing is left of a caller without uploads."""
    turns = CallerTurns("uploads", max_per_caller=2, timeout_s=60)
    began: list[str] = []
    ends = [asyncio.Event() for _ in range(3)]

    async def upload(number: int) -> None:
        async with turns.turn(ALICE):
            began.append(f"alice {number}")
            await ends[number].wait()

    uploads = [asyncio.create_task(upload(number)) for number in range(3)]
    await asyncio.sleep(0)
    async with turns.turn(BOB):
        assert began == ["alice 0", "alice 1"]
    ends[1].set()
    await uploads[1]
    await asyncio.sleep(0)
    assert began == ["alice 0", "alice 1", "alice 2"]
    for end in ends:
        end.set()
    await asyncio.gather(*uploads)
    assert not turns._turns


async def test_an_upload_that_gets_no_turn_is_refused():
    """The refusal has a time after which to retry. The turn that it did not get is not lost."""
    turns = CallerTurns("uploads", max_per_caller=1, timeout_s=0.01)
    async with turns.turn(ALICE):
        with pytest.raises(CallerLimit, match=r"as many uploads under way as one caller may \(1\)") as refused:
            async with turns.turn(ALICE):
                pass
    assert refused.value.retry_after_s >= 1
    async with turns.turn(ALICE):
        pass
