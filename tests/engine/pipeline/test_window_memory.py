"""The memory of the windows of all requests of a slot."""

import asyncio
import threading
import time
from dataclasses import replace

import pytest

from asr_service.engine.options import DecodingOptions
from asr_service.engine.pipeline.window_memory import MemoryShare, WindowMemory
from engines import engine_around, loud
from fakes import Call, FakeModel, writing


def taking(memory: WindowMemory, share: MemoryShare) -> "asyncio.Task[None]":
    return asyncio.create_task(memory.take(share))


async def granted(*tasks: "asyncio.Task[None]") -> list[bool]:
    for _ in range(3):
        await asyncio.sleep(0)
    return [task.done() for task in tasks]


async def test_one_window_of_each_request_may_always_begin():
    """Without it, requests could wait for each other for ever. A second window waits for memory."""
    used: list[int] = []
    memory = WindowMemory(200, 100, used.append)
    shares = [MemoryShare() for _ in range(5)]
    for share in shares:
        await memory.take(share)
    second = taking(memory, shares[0])
    assert await granted(second) == [False]
    memory.give_back(shares[0])  # its second window is its only one now
    assert await granted(second) == [True]
    for share in shares:
        memory.give_back(share)
    assert used == [100, 200, 300, 400, 500, 400, 500, 400, 300, 200, 100, 0]


async def test_free_memory_goes_to_the_request_with_the_fewest_windows():
    """A recording whose many windows came first does not keep the others at one window."""
    memory = WindowMemory(5, 1)
    many, few, bulk = MemoryShare(), MemoryShare(), MemoryShare(is_bulk=True)
    for share in (many, many, many, many, bulk, few):
        await memory.take(share)
    waiting = [taking(memory, share) for share in (bulk, many, few)]
    assert await granted(*waiting) == [False, False, False]
    memory.give_back(many)
    assert await granted(*waiting) == [False, False, False], "six windows were held, and five are the limit"
    memory.give_back(many)
    assert await granted(*waiting) == [False, False, True]
    memory.give_back(few)
    assert await granted(*waiting) == [False, True, True]
    memory.give_back(few)
    assert await granted(*waiting) == [True, True, True]


@pytest.mark.parametrize("is_granted", [False, True])
async def test_a_request_that_is_cancelled_while_it_waits_holds_nothing(is_granted):
    """Even if its window was granted at the same moment."""
    used: list[int] = []
    memory = WindowMemory(1, 1, used.append)
    one, other = MemoryShare(), MemoryShare()
    await memory.take(one)
    await memory.take(other)
    waiting = taking(memory, one)
    await granted(waiting)
    if is_granted:
        memory.give_back(one)
        waiting.cancel()
    else:
        waiting.cancel()
        memory.give_back(one)
    await granted(waiting)
    assert waiting.cancelled()
    memory.give_back(other)
    assert used[-1] == 0
    await memory.take(one)
    assert used[-1] == 1


async def test_many_long_recordings_at_once_stay_within_the_memory_and_all_finish():
    """Forty windows may be in flight, and there is memory for six, and for one of each request that comes later."""
    used: list[int] = []
    is_full = threading.Event()

    def note(n_bytes: int) -> None:
        used.append(n_bytes)
        if n_bytes >= 6:
            is_full.set()

    memory = WindowMemory(6, 1, note)
    options = DecodingOptions(vad_filter=False, language="en")
    per_chunk = replace(options, language=None, language_per_chunk=True)

    def before(call: Call) -> None:
        if call.stage == "generate" and not model.calls_of("generate")[1:]:
            assert is_full.wait(60)
            time.sleep(0.3)  # no further window begins

    model = FakeModel(writing(" and", until_s=4.0), before=before)
    async with engine_around(model, max_inflight_windows=10, chunk_s=5.0, memory=memory) as engine:
        recordings = [(engine.recording(loud(40)), each) for each in (options, options, options, per_chunk)]
        found = await asyncio.gather(*(engine.transcript(*each) for each in recordings))
    assert [each.text for each in found] == [found[0].text] * 4
    assert found[0].text.count("and") > 8
    assert 6 <= max(used) <= 6 + 3
    assert used[-1] == 0
