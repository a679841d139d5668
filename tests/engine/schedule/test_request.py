"""What a request knows of its own calls of the model."""

import math
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any, cast

import numpy as np
import pytest

from asr_service.engine.model.calls import EncodeCall
from asr_service.engine.options import DecodingOptions
from asr_service.engine.schedule.batch import QueueEntry
from asr_service.engine.schedule.request import RequestHandle
from asr_service.engine.schedule.scheduler import Scheduler

CALL = EncodeCall(np.zeros((80, 1000), np.float32), detect_language=False)


class PromptScheduler:
    """Resolves each entry at once. It ran from `start` to `end`, in seconds after it was submitted."""

    def __init__(self, runs: Iterable[tuple[float, float]]) -> None:
        self._runs = iter(runs)
        self._first_at: float | None = None

    def submit(self, entry: QueueEntry) -> Future[Any]:
        if self._first_at is None:
            self._first_at = entry.enqueued_at
        entry.enqueued_at = self._first_at  # as if all were submitted at the same time
        start, end = next(self._runs)
        entry.started_at, entry.ended_at = self._first_at + start, self._first_at + end
        entry.future.set_result(None)
        return entry.future


async def request_with(*runs: tuple[float, float]) -> RequestHandle:
    scheduler = cast("Scheduler", PromptScheduler(runs))
    request = RequestHandle(scheduler, 0, DecodingOptions(), next_deadline=lambda: math.inf)
    for _ in runs:
        await request.submit(CALL, audio_s=10.0, is_first_window=False)
    return request


async def test_parallel_calls_of_a_request_are_counted_once():
    """Calls that run at the same time add the time during which at least one of them runs."""
    request = await request_with((5.0, 6.0), (1.0, 3.0), (2.0, 4.0), (2.5, 3.5), (3.6, 3.9))
    assert request.inference_s == pytest.approx(4.0)


async def test_the_wait_of_a_request_is_its_longest_one():
    """Not that of the last window, which may have waited for nothing."""
    request = await request_with((1.0, 1.5), (3.0, 3.5), (0.5, 1.0))
    assert request.queued_s == pytest.approx(3.0)
