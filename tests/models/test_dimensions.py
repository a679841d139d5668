"""Reading a model's dimensions from its model.bin."""

import struct
from pathlib import Path

import numpy as np
import pytest

from asr_service.models.dimensions import ModelDimensions, read_dimensions


def string(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def model_bin(variables: dict[str, np.ndarray], version: int = 6) -> bytes:
    """Write variables as CTranslate2's `ModelSpec._serialize` does."""
    parts = [struct.pack("<I", version), string("WhisperSpec"), struct.pack("<II", 3, len(variables))]
    for name, value in variables.items():
        parts += [string(name), struct.pack(f"<B{value.ndim}I", value.ndim, *value.shape)]
        parts += [struct.pack("<BI", 4, value.nbytes), value.tobytes()]
    return b"".join([*parts, struct.pack("<I", 0)])


def whisper(d_model: int, n_layers: int, n_heads: int) -> dict[str, np.ndarray]:
    layers = {
        f"decoder/layer_{layer}/{part}/bias": np.zeros(d_model, np.float16)
        for layer in range(n_layers)
        for part in ("attention/linear_0", "ffn/linear_0")
    }
    return layers | {
        "decoder/num_heads": np.array(99, np.int16),
        "encoder/layer_99/ffn/linear_0/bias": np.zeros(d_model, np.float16),
        "encoder/num_heads": np.array(n_heads, np.int16),
        "encoder/position_encodings/encodings": np.zeros((1500, d_model), np.float16),
    }


def written(folder: Path, data: bytes) -> Path:
    (folder / "model.bin").write_bytes(data)
    return folder


def test_dimensions_are_read_from_the_names_and_shapes_of_the_weights(tmp_path):
    """Decoder layers are counted, and the encoder's layers and the decoder's heads are not taken for them."""
    data = model_bin(whisper(d_model=64, n_layers=12, n_heads=4))
    assert read_dimensions(written(tmp_path, data)) == ModelDimensions(64, 12, 4)


WHOLE = model_bin(whisper(64, 2, 4))


@pytest.mark.parametrize(
    "data",
    [b"", b"model", WHOLE[:300], model_bin(whisper(64, 2, 4), version=5), model_bin({"decoder/x": np.zeros(9)})],
    ids=["empty", "text", "cut", "another version", "another model"],
)
def test_a_file_of_another_kind_has_no_dimensions(tmp_path, data: bytes):
    """They are for choosing batch sizes, and must not stop a start."""
    assert read_dimensions(written(tmp_path, data)) is None


def test_a_folder_without_a_model_has_no_dimensions(tmp_path):
    """The model's own loader reports what is missing."""
    assert read_dimensions(tmp_path) is None
