"""Loads the model that a slot's settings name."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from asr_service.engine.model.support import check_support
from asr_service.engine.model.whisper import WhisperModel
from asr_service.errors import ModelUnavailable
from asr_service.hardware.cpu import cpu_flags, enable_avx512
from asr_service.hardware.devices import Device, Slot
from asr_service.hardware.spec import count_cpu_slots
from asr_service.models.auto import resolved_compute_type
from asr_service.models.progress import OnProgress
from asr_service.models.resolution import ensure_model, model_name, refetch_model, resolve_model
from asr_service.settings import Settings

log = structlog.get_logger(__name__)

_MAX_CPU_THREADS: Final = 8
"""More threads share too little memory bandwidth to be worth their buffers."""


def load_slot_model(
    settings: Settings, slot: Slot, on_files: Callable[[], None], progress: OnProgress | None = None
) -> WhisperModel:
    """Check the device, find or download the model that the settings name, and load it.

    If the files of a named model do not load, they are downloaded once more. `on_files` is called when the files are on
    the disk, which may take as long as a slow download. `progress` shows a download; it logs by default.
    Raises ConfigurationError: the device does not support the precision, or cuBLAS is missing. DeviceUnavailable:
    CTranslate2 cannot use the GPU. ModelUnavailable: there are no usable files. RuntimeError: the device cannot hold
    the model.
    """
    if slot.device.kind == "cpu":
        enable_avx512(os.environ, cpu_flags())  # CTranslate2 reads the variable when it is first used
    compute_type = resolved_compute_type(settings, slot.device)
    check_support(slot.device, compute_type)
    model = resolve_model(settings, slot.device)
    load = functools.partial(
        WhisperModel,
        name=model_name(model),
        device=slot.device,
        compute_type=compute_type,
        threads=model_threads(settings, slot.device),
    )
    folder = ensure_model(settings, model, progress)
    on_files()
    try:
        return load(folder)
    except ModelUnavailable as error:
        if isinstance(model, Path):
            raise ModelUnavailable(f"{error.message} Copy the folder again, or convert the model again.") from error
        log.warning("the model does not load", error=error.message)
        return load(refetch_model(settings, model, progress))


def model_threads(settings: Settings, device: Device) -> int:
    """Return how many model calls run side by side: one on a GPU; on a CPU one per core of this slot."""
    if settings.model_threads:
        return settings.model_threads
    if device.kind == "cuda":
        return 1
    cores = len(os.sched_getaffinity(0))
    return max(1, min(cores // max(count_cpu_slots(settings.devices), 1), _MAX_CPU_THREADS))
