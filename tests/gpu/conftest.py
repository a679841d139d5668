"""Devices, models and windows for the tests of a GPU.

Each test that does not depend on CUDA also runs on the CPU with a toy model, so that its code is known to work
(`-m slow`). On a GPU, the model is Whisper base from the extra base-model, or one of the same shape with random
weights.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from asr_service.audio.features import FULL_CONTEXT, Features, LogMel
from asr_service.engine.model.loading import load_slot_model
from asr_service.engine.model.whisper import WhisperModel
from asr_service.hardware.devices import Device, Slot
from asr_service.hardware.nvml import discover_gpus
from asr_service.models.packaged import packaged_parts
from asr_service.settings import Settings, load_settings
from benchmarks.common.byte_tokenizer import any_tokenizer
from benchmarks.common.material import RATE, decode
from benchmarks.common.random_model import BASE, TINY, write_random_model
from gpu.devices import CPU, GPU
from speech import SPEECH

Load = Callable[..., WhisperModel]


@pytest.fixture(scope="session")
def gpu() -> Device:
    if not discover_gpus():
        pytest.skip("needs an NVIDIA GPU; NVML finds none on this machine")
    return GPU


@pytest.fixture(
    scope="session",
    params=[pytest.param(CPU, id="cpu", marks=pytest.mark.slow), pytest.param(GPU, id="cuda", marks=pytest.mark.gpu)],
)
def device(request: pytest.FixtureRequest) -> Device:
    if request.param == GPU:
        request.getfixturevalue("gpu")
    chosen: Device = request.param
    return chosen


@pytest.fixture(scope="session")
def model_folder(device: Device, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the model that the device runs."""
    if device == GPU and packaged_parts() is not None:
        folder: Path = request.getfixturevalue("base_model_dir")
        return folder
    folder = tmp_path_factory.mktemp(f"model-{device.kind}")
    return write_random_model(BASE if device == GPU else TINY, any_tokenizer(folder), folder, float16=False)


@pytest.fixture(scope="session")
def settings(device: Device, model_folder: Path) -> Callable[..., Settings]:
    def with_values(**values: object) -> Settings:
        return load_settings({}, **({"model": str(model_folder), "devices": str(device)} | values))

    return with_values


@pytest.fixture
def load(device: Device, settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load the model as a worker does. The keyword arguments are settings."""
    monkeypatch.setenv("CT2_FORCE_CPU_ISA", "")  # loading a model may set it; the test's end restores it
    monkeypatch.delenv("CT2_FORCE_CPU_ISA")
    return lambda **values: load_slot_model(settings(**values), Slot(0, device), lambda: None)


@pytest.fixture(scope="session")
def windows() -> Callable[[int], list[Features]]:
    """Return as many different windows of speech as requested."""
    speech = np.concatenate([decode(recording.path) for recording in SPEECH.values()])
    log_mel = LogMel(80)

    def first(n: int) -> list[Features]:
        starts = np.linspace(0, len(speech) - 30 * RATE, n).astype(int)
        return [log_mel(speech[start : start + 30 * RATE], FULL_CONTEXT) for start in starts]

    return first
