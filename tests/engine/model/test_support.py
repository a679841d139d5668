"""The check of a device before a model loads, at start and in `doctor` alike."""

import pytest

from asr_service.engine.model.support import DeviceSupport, SupportProblem, check_support, find_problem, read_support
from asr_service.errors import ConfigurationError, DeviceUnavailable
from asr_service.hardware.devices import Device
from asr_service.models.registry import COMPUTE_TYPES

CPU = Device("cpu")
GPU = Device("cuda", 0)
OLD_GPU = DeviceSupport("4.8", "12.8.4", ("int8", "int8_float32", "float32"), (6, 1))


def problem(device: Device, compute_type: str, support: DeviceSupport) -> SupportProblem:
    found = find_problem(device, compute_type, support)
    assert found is not None
    return found


def test_a_cpu_supports_int8_and_float32_here():
    """CTranslate2 itself is asked, and its names are those of ASR_COMPUTE_TYPE."""
    support = read_support(CPU)
    assert {"int8", "float32"} <= set(support.compute_types) <= set(COMPUTE_TYPES)
    assert find_problem(CPU, "int8", support) is None
    check_support(CPU, "float32")


def test_a_precision_that_a_cpu_lacks_is_refused_with_those_it_has():
    """One sentence names the device and the precision, the next one the values that work. Exit code 78."""
    with pytest.raises(ConfigurationError, match="Precision float16 is not supported on cpu") as refused:
        check_support(CPU, "float16")
    assert refused.value.exit_code == 78
    assert "Set ASR_COMPUTE_TYPE to one of: int8, int8_float32, float32." in refused.value.message


def test_a_precision_that_an_old_gpu_lacks_is_refused_with_its_compute_capability():
    found = problem(GPU, "int8_float16", OLD_GPU)
    assert found.subject == "precision"
    assert "Precision int8_float16 is not supported on cuda:0" in found.message
    assert "needs compute capability 7.0, and the GPU has 6.1" in found.message
    assert found.fix == "Set ASR_COMPUTE_TYPE to one of: int8, int8_float32, float32."
    assert find_problem(GPU, "int8_float32", OLD_GPU) is None


def test_a_missing_cublas_is_an_error_that_names_the_extra():
    """CTranslate2 would load the model without it, and fail at the first product. Exit code 78: nothing restarts it."""
    found = problem(GPU, "int8_float16", DeviceSupport("4.8", None, COMPUTE_TYPES, (8, 9)))
    assert found.to_error().exit_code == 78
    assert "pip install 'asr-service[cuda]'" in found.to_error().message
    assert find_problem(CPU, "int8", DeviceSupport("4.8", None, ("int8",))) is None


def test_a_gpu_that_ctranslate2_cannot_use_is_an_error_with_its_reason():
    """The driver may be restarted later: exit code 69."""
    found = problem(GPU, "float16", DeviceSupport("4.8", "12.8.4", (), error="CUDA driver version is insufficient"))
    assert isinstance(found.to_error(), DeviceUnavailable)
    assert "CUDA driver version is insufficient" in found.message


def test_a_machine_without_a_gpu_reads_no_support_for_one():
    """CTranslate2's error is kept as the reason."""
    support = read_support(GPU)
    if support.compute_types:
        pytest.skip("this machine has a GPU")
    assert support.error
