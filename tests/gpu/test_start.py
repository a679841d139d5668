"""A start that cannot succeed ends with an error, instead of restarting again and again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from asr_service.engine.model import support
from asr_service.engine.model.loading import load_slot_model
from asr_service.errors import ConfigurationError
from asr_service.hardware.devices import Slot
from asr_service.settings import load_settings
from benchmarks.common.servers import free_port
from gpu.devices import CPU, GPU

HIDES_CUBLAS = """
import ctypes

class CDLL(ctypes.CDLL):
    def __init__(self, name, *args, **kwargs):
        if "libcublas" in str(name):
            raise OSError(f"{name} is hidden by a test")
        super().__init__(name, *args, **kwargs)

ctypes.CDLL = CDLL
"""


def test_a_model_on_a_gpu_is_refused_without_cublas(model_folder, device, monkeypatch):
    """The error names the library and the package that installs it. No GPU is needed to find that out."""
    monkeypatch.setattr(support, "load_cublas", lambda: None)
    settings = load_settings({}, model=str(model_folder), devices="cpu", compute_type="float32")
    with pytest.raises(ConfigurationError, match=r"libcublas\.so\.12.*asr-service\[cuda\]") as refused:
        load_slot_model(settings, Slot(0, GPU), lambda: None)
    assert refused.value.exit_code == 78


@pytest.mark.timeout(90)
def test_the_service_exits_if_its_device_cannot_run_the_model(model_folder, device, tmp_path: Path):
    """On a GPU cuBLAS is hidden; on the CPU the precision is float16. Both end with exit code 78 and the reason."""
    (tmp_path / "sitecustomize.py").write_text("" if device == CPU else HIDES_CUBLAS)
    settings = {
        "ASR_MODEL": str(model_folder),
        "ASR_DEVICES": str(device),
        "ASR_COMPUTE_TYPE": "float16",
        "ASR_PORT": str(free_port()),
        "ASR_SOCKET_DIR": str(tmp_path / "slots"),
    }
    command = [str(Path(sys.executable).with_name("asr-service")), "serve"]
    environment = os.environ | settings | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=60)
    output = done.stdout + done.stderr
    assert done.returncode == 78, output
    assert ("float32" if device == CPU else "cuBLAS") in output
