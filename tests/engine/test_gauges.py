"""The gauges of one slot in /metrics."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest
from prometheus_client import REGISTRY

from asr_service.engine.gauges import SlotGauges
from asr_service.engine.model.stages import Stage
from asr_service.engine.schedule.batch import Batch, BatchLimit, QueueEntry
from asr_service.engine.schedule.scheduler import Scheduler
from asr_service.hardware.devices import Device, Slot
from hardware import fake_nvml

NOW = time.monotonic()


def entry(*, waits_s: float) -> QueueEntry:
    return QueueEntry(
        Stage.ENCODE, "k", 0, None, audio_s=7, n_frames=700, deadline=NOW + 1e6, enqueued_at=NOW - waits_s
    )


@contextmanager
def at_a_long_call() -> Iterator[Scheduler]:
    """Run a scheduler whose only thread is in a call until the context ends."""
    entered, end = threading.Event(), threading.Event()

    def run(_: Batch) -> list[None]:
        entered.set()
        assert end.wait(60)
        return [None]

    scheduler = Scheduler(
        run, dict.fromkeys(Stage, BatchLimit(1)), n_threads=1, on_failure=lambda _: None, probe=lambda: None
    )
    scheduler.start()
    scheduler.submit(entry(waits_s=0))
    assert entered.wait(60)
    try:
        yield scheduler
    finally:
        scheduler.stop()
        end.set()
        scheduler.join(5)


def shown(metric: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"asr_{metric}", labels)


def test_the_gauges_show_the_queue_and_its_age():
    """Depth, seconds of audio, and the longest wait. The running call does not count."""
    gauges = SlotGauges(Slot(7, Device("cpu")))
    with at_a_long_call() as scheduler:
        gauges.show(scheduler, NOW)
        assert [shown(f"queue_{of}", slot="7") for of in ("depth", "audio_seconds", "age_seconds")] == [0, 0, 0]
        for waits_s in (3, 5, 1):
            scheduler.submit(entry(waits_s=waits_s))
        gauges.show(scheduler, NOW + 2)
        assert [shown(f"queue_{of}", slot="7") for of in ("depth", "audio_seconds", "age_seconds")] == [3, 21, 7]


def test_a_slot_that_loads_has_an_empty_queue_and_a_memory_gauge():
    SlotGauges(Slot(8, Device("cpu"))).show(None, NOW)
    assert shown("queue_age_seconds", slot="8") == 0
    assert shown("worker_rss_bytes", slot="8") == pytest.approx(psutil.Process().memory_info().rss, rel=0.2)


def test_a_gpus_gauges_are_labelled_by_its_uuid(monkeypatch: pytest.MonkeyPatch):
    """A value that the GPU does not report has no gauge."""
    fake_nvml.install(monkeypatch, [fake_nvml.FakeGpu("GPU-a", busy_percent=None)])
    SlotGauges(Slot(9, Device("cuda", 0))).show(None, NOW)
    assert shown("gpu_memory_used_bytes", gpu="GPU-a") == fake_nvml.GIB
    assert shown("gpu_memory_total_bytes", gpu="GPU-a") == 24 * fake_nvml.GIB
    assert shown("gpu_temperature_celsius", gpu="GPU-a") == 60
    assert shown("gpu_utilization_ratio", gpu="GPU-a") is None
