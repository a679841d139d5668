"""The dimensions of a Whisper model, read from the header of its model.bin."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

_BINARY_VERSION: Final = 6
"""Of CTranslate2's file format, written by all its versions since 2021."""
_DECODER_LAYER: Final = re.compile(r"decoder/layer_(\d+)/")
_SCALAR_BYTES: Final = 4
"""Larger values are weights, and skipped."""


@dataclass(frozen=True, slots=True)
class ModelDimensions:
    """What the memory of a model's calls follows from."""

    d_model: int
    n_decoder_layers: int
    n_encoder_heads: int


def read_dimensions(folder: Path) -> ModelDimensions | None:
    """Read the dimensions of the model in a folder. Takes milliseconds: weights are skipped.

    Returns None if model.bin cannot be read or is not of the format that CTranslate2 writes today
    (`ModelSpec._serialize` in https://github.com/OpenNMT/CTranslate2, python/ctranslate2/specs/model_spec.py).
    """
    layers: set[str] = set()
    d_model = n_heads = 0
    try:
        with (folder / "model.bin").open("rb") as file:
            for name, shape, value in _variables(file):
                if found := _DECODER_LAYER.match(name):
                    layers.add(found[1])
                elif name == "encoder/position_encodings/encodings":
                    d_model = shape[-1]
                elif name == "encoder/num_heads":
                    n_heads = int.from_bytes(value, "little")
    except (OSError, ValueError, struct.error):
        return None
    return ModelDimensions(d_model, len(layers), n_heads) if layers and d_model and n_heads else None


def _variables(file: BinaryIO) -> Iterator[tuple[str, tuple[int, ...], bytes]]:
    """Yield name, shape and, for scalars, value of each variable. Raises ValueError: another format."""
    (version,) = _unpack(file, "I")
    if version != _BINARY_VERSION:
        raise ValueError(f"model.bin has format {version}, not {_BINARY_VERSION}")
    _string(file)
    _revision, n_variables = _unpack(file, "II")
    for _ in range(n_variables):
        name = _string(file)
        (rank,) = _unpack(file, "B")
        shape = _unpack(file, f"{rank}I")
        _type, n_bytes = _unpack(file, "BI")
        value = b""
        if n_bytes <= _SCALAR_BYTES:
            value = file.read(n_bytes)
        else:
            file.seek(n_bytes, 1)
        yield name, shape, value


def _unpack(file: BinaryIO, layout: str) -> tuple[int, ...]:
    return struct.unpack(f"<{layout}", file.read(struct.calcsize(f"<{layout}")))


def _string(file: BinaryIO) -> str:
    (length,) = _unpack(file, "H")
    return file.read(length).rstrip(b"\0").decode()
