"""Batches that fail, without threads and without a model."""

from collections.abc import Sequence
from typing import Any

from asr_service.engine.model.stages import Stage
from asr_service.engine.schedule.batch import Batch, QueueEntry
from asr_service.engine.schedule.execution import BatchRunner


def entry(name: str) -> QueueEntry:
    return QueueEntry(Stage.GENERATE, "k", 0, payload=name, audio_s=1.0, n_frames=1000, deadline=1e9, enqueued_at=0.0)


def test_a_cancelled_window_of_a_failed_batch_is_not_tried_again():
    """Its client has gone, and each attempt would keep the others waiting."""
    entries = [entry("a"), entry("b")]
    tried: list[list[Any]] = []

    def run(batch: Batch) -> Sequence[Any]:
        tried.append([each.payload for each in batch.entries])
        if len(batch.entries) > 1:
            entries[0].future.cancel()
            raise RuntimeError("the batch fails")
        return [each.payload.upper() for each in batch.entries]

    runner = BatchRunner(run, on_out_of_memory=lambda _: None, probe=lambda: None)
    assert not runner.execute(Batch(Stage.GENERATE, tuple(entries)))
    assert tried == [["a", "b"], ["b"]]
    assert entries[1].future.result(0) == "B"
