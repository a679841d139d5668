"""Identifies the files of a model by their content, without reading all of it."""

import hashlib
from pathlib import Path
from typing import Final

_FILES: Final = ("config.json", "model.bin", "tokenizer.json")
_SAMPLES: Final = 64
_SAMPLE_BYTES: Final = 4096


def fingerprint(folder: Path) -> str:
    """Return a hash of the sizes of a model's files and of samples of their content. Takes milliseconds.

    Models that were trained or quantized differently differ in nearly all of their weights, so samples are enough.
    Raises OSError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in (folder / name for name in _FILES):
        n_bytes = path.stat().st_size if path.exists() else 0
        digest.update(f"{path.name} {n_bytes} ".encode())
        if not n_bytes:
            continue
        with path.open("rb") as file:
            for number in range(_SAMPLES):
                file.seek(number * max(n_bytes - _SAMPLE_BYTES, 0) // (_SAMPLES - 1))
                digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()[:16]
