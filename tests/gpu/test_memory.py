"""Memory that runs out: the batch is halved, and the model works afterwards."""

import time
from collections.abc import Sequence
from contextlib import nullcontext

from asr_service.audio.features import Features
from asr_service.engine.model.calls import EncodeCall, run_calls
from asr_service.engine.model.stages import Stage
from asr_service.engine.schedule.batch import Batch, QueueEntry
from asr_service.engine.schedule.execution import BatchRunner
from benchmarks.gpu.memory_filler import filled
from gpu.decoding import transcribe
from gpu.devices import CPU

FREE_MIB = 400
"""Memory left on the GPU: enough for a few windows of base, not for N_WINDOWS."""
N_WINDOWS = 256
CPU_WINDOWS, CPU_BATCH = 8, 2
"""On the CPU a batch over CPU_BATCH windows fails with the message that CUDA has."""


def entries(windows: Sequence[Features]) -> tuple[QueueEntry, ...]:
    calls = [EncodeCall(window, detect_language=False) for window in windows]
    return tuple(
        QueueEntry(Stage.ENCODE, call.key, number, call, 30.0, 3000, float("inf"), time.monotonic())
        for number, call in enumerate(calls)
    )


def test_ten_calls_succeed_after_memory_ran_out(load, device, windows):
    """Every window of the large batch is encoded in smaller batches. Then ten calls return what they did before."""
    model = load(compute_type="float32")
    (window,) = windows(1)
    expected = transcribe(model, [window])
    halved: list[Batch] = []
    probed: list[bool] = []

    def run(batch):
        if device == CPU and len(batch.entries) > CPU_BATCH:
            raise RuntimeError("CUDA failed with error out of memory")
        return run_calls(model, batch.stage, [entry.payload for entry in batch.entries])

    runner = BatchRunner(run, halved.append, lambda: probed.append(True))
    batch = Batch(Stage.ENCODE, entries(windows(8) * ((CPU_WINDOWS if device == CPU else N_WINDOWS) // 8)))
    with nullcontext() if device == CPU else filled(str(device), FREE_MIB):
        assert not runner.execute(batch)
        after = [transcribe(model, [window]) for _ in range(10)]
    assert halved
    assert not probed, "out of memory does not mean that the device is lost"
    assert all(entry.future.exception(0) is None for entry in batch.entries)
    assert [[each.tokens for each in generations] for generations in after] == [[expected[0].tokens]] * 10
