"""From a slot's settings to its model in memory."""

import functools
import os
from collections.abc import Callable
from pathlib import Path

import structlog

from asr_service.engine.model.whisper import WhisperModel
from asr_service.errors import ModelUnavailable
from asr_service.hardware.cpu import cpu_flags, widen_vectors
from asr_service.hardware.cublas import load_cublas
from asr_service.hardware.devices import Device, Slot
from asr_service.hardware.spec import n_cpu_slots
from asr_service.models.resolution import ensure_model, model_name, refetch_model, resolve_model, resolved_compute_type
from asr_service.settings import Settings

log = structlog.get_logger(__name__)

_MOST_CPU_THREADS = 8
"""More threads than this share too little memory bandwidth to be worth their buffers."""


def load_slot_model(settings: Settings, slot: Slot, on_files: Callable[[], None]) -> WhisperModel:
    """Find or fetch the model that the settings name, and load it; files that do not load are fetched again, once.

    `on_files` is called when the files are there, which may take a slow download's time.
    Raises StartupError. RuntimeError: the device cannot take the model.
    """
    model = resolve_model(settings, slot.device)
    load = functools.partial(
        WhisperModel,
        name=model_name(model),
        device=slot.device,
        compute_type=resolved_compute_type(settings, slot.device),
        threads=model_threads(settings, slot.device),
    )
    folder = ensure_model(settings, model)
    on_files()
    if slot.device.kind == "cuda":
        load_cublas()  # pip puts it where CTranslate2 would not look
    else:
        widen_vectors(os.environ, cpu_flags())
    try:
        return load(folder)
    except ModelUnavailable as error:
        if isinstance(model, Path):
            raise ModelUnavailable(f"{error.message}; copy it here anew, or convert it again") from error
        log.warning("the model does not load", error=error.message)
        return load(refetch_model(settings, model))


def model_threads(settings: Settings, device: Device) -> int:
    """Calls of the model side by side: one on a GPU; on a CPU the cores, shared with the other CPU slots."""
    if settings.model_threads:
        return settings.model_threads
    if device.kind == "cuda":
        return 1
    cores = len(os.sched_getaffinity(0))
    return max(1, min(cores // max(n_cpu_slots(settings.devices), 1), _MOST_CPU_THREADS))
