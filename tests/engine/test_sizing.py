"""Batch sizes and the encoder's context on a CPU and on a GPU."""

from dataclasses import replace
from typing import Any

import pytest

from asr_service.engine import sizing
from asr_service.engine.model.protocol import ModelFacts
from asr_service.engine.model.stages import Stage
from asr_service.engine.schedule.batch import BatchLimit
from asr_service.engine.sizing import (
    GpuMemory,
    batch_limits,
    decode_bytes,
    encode_bytes,
    encoder_margin_s,
    host_window_bytes,
    window_memory_bytes,
)
from asr_service.hardware.devices import Device
from asr_service.hardware.nvml import Gpu
from asr_service.models.dimensions import ModelDimensions
from asr_service.settings import Settings

LARGE_V3 = ModelDimensions(d_model=1280, n_decoder_layers=32, n_encoder_heads=20)
GIB = 1024**3


def gpu_limits(
    *, free_gib: float, dimensions: ModelDimensions = LARGE_V3, n_threads: int = 1, **settings: Any
) -> tuple[int, int]:
    """Windows in an encoder batch and in a decoder batch."""
    memory = GpuMemory(int(free_gib * GIB), dimensions, "int8_float16", n_threads)
    limits = batch_limits(Settings(**settings), on_gpu=True, memory=memory)
    assert limits[Stage.ALIGN] == limits[Stage.GENERATE]
    return limits[Stage.ENCODE].n_windows, limits[Stage.GENERATE].n_windows


@pytest.mark.parametrize(
    ("given", "on_cpu_s", "on_gpu_s"),
    [({}, 6.0, None), ({"encoder_context": "short"}, 6.0, 6.0), ({"encoder_context": "full"}, None, None)],
)
def test_a_gpu_uses_the_full_context_by_default_and_a_cpu_the_short_one(given, on_cpu_s, on_gpu_s):
    """On a GPU only windows of one length share a call; on a CPU the short context saves work."""
    settings = Settings(**given)
    assert encoder_margin_s(settings, on_gpu=False) == on_cpu_s
    assert encoder_margin_s(settings, on_gpu=True) == on_gpu_s


def test_two_clips_of_11_s_share_a_decoder_call_on_a_cpu_and_two_windows_of_15_s_do_not():
    """The frames of a call are bounded by default; a setting replaces the bound."""
    decode = batch_limits(Settings(), on_gpu=False)[Stage.GENERATE]
    assert [decode.max_windows(n_frames) for n_frames in (1024, 1344, 1728, 2112, 3000)] == [4, 3, 2, 1, 1]
    assert batch_limits(Settings(decode_batch=3), on_gpu=False)[Stage.GENERATE] == BatchLimit(3)


def test_sixteen_windows_of_large_v3_need_3_9_gb_for_cross_attention_and_5_9_gb_for_five_beams():
    """The caches of keys and values in float16: 1500 positions once, 448 tokens for each beam."""
    without_beams = 16 * decode_bytes(LARGE_V3, "float16", beam_size=0)
    beams = 16 * decode_bytes(LARGE_V3, "float16", beam_size=5) - without_beams
    encoder_output = 16 * 1500 * 1280 * 2
    assert without_beams - encoder_output == pytest.approx(3.9e9, rel=0.02)
    assert beams == pytest.approx(5.9e9, rel=0.02)


@pytest.mark.parametrize(("compute_type", "megabytes"), [("float16", 7.3), ("bfloat16", 11.1), ("float32", 11.1)])
def test_a_window_of_large_v3_takes_7_mb_of_host_memory(compute_type: str, megabytes: float):
    """Samples, features and encoding. A model of unknown dimensions counts as large-v3."""
    facts = ModelFacts("large-v3", 128, True, Device("cuda", 0), compute_type, 1, LARGE_V3)
    assert host_window_bytes(facts) == pytest.approx(megabytes * 1e6, rel=0.01)
    assert host_window_bytes(replace(facts, dimensions=None)) == host_window_bytes(facts)


def test_all_windows_of_a_slot_take_half_a_gigabyte_and_at_least_what_one_request_needs():
    """Larger batches, which an operator chose, need more windows in flight."""
    facts = ModelFacts("large-v3", 128, True, Device("cuda", 0), "float16", 1, LARGE_V3)
    window_bytes = host_window_bytes(facts)
    assert window_memory_bytes(window_bytes, 32) == 512 * 1024**2
    assert window_memory_bytes(window_bytes, 200) == 200 * window_bytes


@pytest.mark.parametrize(
    ("compute_type", "times"),
    [("float16", 1), ("bfloat16", 1), ("int8_float16", 1), ("int8_bfloat16", 1), ("float32", 2), ("int8_float32", 2)],
)
def test_attention_has_the_float_type_of_the_precision(compute_type: str, times: int):
    """Only the weights are int8."""
    assert decode_bytes(LARGE_V3, compute_type, 5) == times * decode_bytes(LARGE_V3, "float16", 5)
    assert encode_bytes(LARGE_V3, compute_type) == times * encode_bytes(LARGE_V3, "float16")


@pytest.mark.parametrize(
    ("free_gib", "limits"), [(0.5, (1, 1)), (2, (5, 1)), (4, (8, 5)), (8, (8, 12)), (11, (8, 16)), (70, (8, 16))]
)
def test_batches_of_a_gpu_are_as_large_as_its_free_memory_allows(free_gib: float, limits: tuple[int, int]):
    """Never less than one window, and never more than the default."""
    assert gpu_limits(free_gib=free_gib) == limits


def test_batches_follow_from_the_model_the_beam_and_the_number_of_threads():
    """A decoder of two layers needs little; wider beams need more; threads that run side by side share the memory."""
    assert gpu_limits(free_gib=4, dimensions=ModelDimensions(1280, 2, 20)) == (8, 16)
    assert gpu_limits(free_gib=4, beam_size=1)[1] == 9
    assert gpu_limits(free_gib=4, n_threads=2) == (7, 2)


def test_batch_sizes_that_are_set_are_not_lowered():
    """The operator may know better; if they do not fit they are halved at run time."""
    assert gpu_limits(free_gib=2, encode_batch=7, decode_batch=32) == (7, 32)


def test_an_unknown_amount_of_memory_leaves_the_defaults():
    """They are halved if memory runs out."""
    limits = batch_limits(Settings(), on_gpu=True)
    assert [limits[stage].n_windows for stage in Stage] == [8, 16, 16]


class TestTheMemoryOfAGpu:
    """What is free after the model is loaded, divided among the threads."""

    facts = ModelFacts("large-v3", 128, True, Device("cuda", 0), "int8_float16", 1, LARGE_V3)

    @pytest.fixture(autouse=True)
    def gpu(self, monkeypatch) -> None:
        """A GPU with 5 GiB free."""
        status = Gpu(0, "GPU-1", "Fake", 8 * GIB, 3 * GIB, None, None, (8, 9))
        monkeypatch.setattr(sizing, "gpu_status", lambda device: status if device.kind == "cuda" else None)

    def test_it_is_read_from_the_device(self):
        """The batch limits follow from it."""
        memory = sizing.gpu_memory(self.facts, n_threads=1)
        assert memory == GpuMemory(5 * GIB, LARGE_V3, "int8_float16", 1)
        assert batch_limits(Settings(), on_gpu=True, memory=memory)[Stage.GENERATE] == BatchLimit(6)

    def test_it_is_unknown_on_a_cpu_and_for_a_model_of_unknown_dimensions(self):
        """Then the default limits hold."""
        assert sizing.gpu_memory(replace(self.facts, device=Device("cpu")), 1) is None
        assert sizing.gpu_memory(replace(self.facts, dimensions=None), 1) is None
