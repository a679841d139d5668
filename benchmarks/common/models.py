"""Where a benchmark finds its model."""

from pathlib import Path

from asr_service.hardware.spec import parse_devices
from asr_service.models.resolution import ensure_model, resolve_model
from asr_service.settings import load_settings


def model_folder(name: str) -> Path:
    """Return the folder of a model in CTranslate2 format. Download it or join its parts if needed.

    Raises StartupError: when the model does not exist or cannot be downloaded.
    """
    settings = load_settings(model=name)
    return ensure_model(settings, resolve_model(settings, parse_devices("cpu")[0]))
