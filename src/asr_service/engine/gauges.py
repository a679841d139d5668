"""The gauges of one slot: its queue, its process, its GPU."""

import psutil

from asr_service import metrics
from asr_service.engine.schedule.scheduler import Scheduler
from asr_service.hardware.devices import Slot
from asr_service.hardware.nvml import Gpu, gpu_status


class SlotGauges:
    """Sets one slot's gauges. Counters and histograms are updated elsewhere, when something happens."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self._label = str(slot.index)
        self._process = psutil.Process()

    def show(self, scheduler: Scheduler | None, now: float) -> None:
        """Set all gauges. `now` is in monotonic seconds. Raises OSError: the process has no free file descriptors."""
        metrics.QUEUE_DEPTH.labels(self._label).set(scheduler.depth if scheduler else 0)
        metrics.QUEUE_AUDIO.labels(self._label).set(scheduler.queued_audio_s if scheduler else 0)
        metrics.QUEUE_AGE.labels(self._label).set(scheduler.oldest_wait_s(now) if scheduler else 0)
        metrics.WORKER_RSS.labels(self._label).set(self._process.memory_info().rss)
        if gpu := gpu_status(self._slot.device):
            _show_gpu(gpu)


def _show_gpu(gpu: Gpu) -> None:
    name = gpu.uuid
    metrics.GPU_MEMORY_USED.labels(name).set(gpu.memory_used_bytes)
    metrics.GPU_MEMORY_TOTAL.labels(name).set(gpu.memory_total_bytes)
    if gpu.utilization_ratio is not None:
        metrics.GPU_UTILIZATION.labels(name).set(gpu.utilization_ratio)
    if gpu.temperature_celsius is not None:
        metrics.GPU_TEMPERATURE.labels(name).set(gpu.temperature_celsius)
