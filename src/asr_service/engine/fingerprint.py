"""What decides a transcript besides the recording and the options of the request."""

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

import asr_service
from asr_service import __version__
from asr_service.engine.model.protocol import ModelFacts
from asr_service.engine.sizing import encoder_margin_s
from asr_service.settings import Settings

_PACKAGES: Final = ("audio", "decoder", "engine", "transcript")
"""The packages that turn a recording into a transcript."""
_LIBRARIES: Final = ("av", "ctranslate2", "faster-whisper", "numpy", "onnxruntime", "opencc")


@dataclass(frozen=True, slots=True)
class EngineFingerprint:
    """Two slots with equal fingerprints may use each other's transcripts and segments."""

    version: str
    code: str
    """Hash of the code and of the versions of its libraries: commits between two releases have the same version."""
    model: str
    revision: str
    compute_type: str
    device: str
    """The kind of the device: its rounding differs."""
    margin_s: float | None
    chunk_length_s: float | None
    block_length_s: float


def engine_fingerprint(settings: Settings, facts: ModelFacts) -> EngineFingerprint:
    """Return the fingerprint of a slot."""
    return EngineFingerprint(
        version=__version__,
        code=_own_code(),
        model=facts.name,
        revision=facts.revision,
        compute_type=facts.compute_type,
        device=facts.device.kind,
        margin_s=encoder_margin_s(settings, on_gpu=facts.device.kind == "cuda"),
        chunk_length_s=settings.chunk_length_s,
        block_length_s=settings.block_length_s,
    )


def code_fingerprint(folders: Sequence[Path], libraries: Sequence[str]) -> str:
    """Return a hash of the Python files in the folders and of the versions of the libraries."""
    digest = hashlib.sha256(" ".join(map(version, libraries)).encode())
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{path.relative_to(folder)} {path.stat().st_size} ".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@functools.cache
def _own_code() -> str:
    root = Path(asr_service.__file__).parent
    return code_fingerprint([root / package for package in _PACKAGES], _LIBRARIES)
