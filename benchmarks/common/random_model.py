"""Write a Whisper model with a real shape and random weights in CTranslate2 format, for timing without real weights.

The time and memory of a Transformer do not depend on its weights, except through the number of tokens. The weights are
chosen so that every window yields as many tokens as `max_new_tokens` allows and passes the service's quality rules:

- The bias of the output layer excludes the end of text, all timestamps except the first, and every token longer than
  one letter. Whole words would exceed the speech rate that the service accepts in a short window.
- The position embedding dominates the decoder's input, and the last normalization is amplified. Each position then has
  another nearly certain token, so the text neither repeats itself nor has a low probability.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from ctranslate2.specs import WhisperSpec
from ctranslate2.specs.whisper_spec import WhisperConfig
from numpy.typing import NDArray

_N_TIMESTAMPS = 1501
_POSITIONS = 448
_FRAMES = 1500
_STD = 0.02
_NEVER = -1e4
_GAIN = 80.0
_NEW_LANGUAGE = "<|yue|>"
"""The language that large-v3 has and earlier models lack."""


@dataclass(frozen=True, slots=True)
class Shape:
    width: int
    heads: int
    layers: int
    """Layers of the encoder, and of the decoder."""
    mels: int
    cantonese: bool
    """Whether the vocabulary has `<|yue|>`, as large-v3's has."""


LARGE_V3 = Shape(1280, 20, 32, 128, cantonese=True)
BASE = Shape(512, 8, 6, 80, cantonese=False)
TINY = Shape(64, 2, 2, 80, cantonese=False)


def write_random_model(shape: Shape, tokenizer: Path, folder: Path, *, float16: bool) -> Path:
    """Write model.bin, config.json, vocabulary.json, tokenizer.json and preprocessor_config.json.

    `tokenizer` is the tokenizer.json of any multilingual Whisper. The weights are stored in float16 or float32.
    CTranslate2 quantizes them when it loads them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = _tokenizer(json.loads(tokenizer.read_text(encoding="utf-8")), shape)
    tokens = _vocabulary(written)
    spec = WhisperSpec(shape.layers, shape.heads, shape.layers, shape.heads)
    _Weights(shape, len(tokens)).fill(spec, _letters(written))
    spec.register_vocabulary(tokens)
    _configure(spec.config, tokens, shape)
    spec.validate()
    spec.optimize(quantization="float16" if float16 else None)
    spec.save(str(folder))
    (folder / "tokenizer.json").write_text(json.dumps(written, ensure_ascii=False), encoding="utf-8")
    (folder / "preprocessor_config.json").write_text(json.dumps({"feature_size": shape.mels}), encoding="utf-8")
    return folder


class _Weights:
    """Draws small random weights. They are slices of one block, so that a billion of them take seconds."""

    def __init__(self, shape: Shape, n_tokens: int) -> None:
        self._shape = shape
        self._n_tokens = n_tokens
        self._random = np.random.default_rng(1)
        self._block = self._random.standard_normal(1 << 24, dtype=np.float32) * _STD

    def fill(self, spec: WhisperSpec, text: Sequence[int]) -> None:
        """Set all weights. `text` are the ids of the tokens that the model may generate."""
        self._encoder(spec.encoder)
        self._decoder(spec.decoder, text)

    def _encoder(self, encoder: Any) -> None:
        width = self._shape.width
        for conv, n_in in ((encoder.conv1, self._shape.mels), (encoder.conv2, width)):
            conv.weight, conv.bias = self._draw(width, n_in, 3), self._zeros(width)
        encoder.position_encodings.encodings = self._draw(_FRAMES, width)
        self._norm(encoder.layer_norm)
        for layer in encoder.layer:
            self._attention(layer.self_attention, (3 * width, width))
            self._feed_forward(layer.ffn)

    def _decoder(self, decoder: Any, text: Sequence[int]) -> None:
        width = self._shape.width
        # Not from the block: repeated rows would make several tokens equally likely.
        embeddings = self._random.standard_normal((self._n_tokens, width), dtype=np.float32) * np.float32(_STD)
        decoder.embeddings.weight = embeddings
        decoder.position_encodings.encodings = self._draw(_POSITIONS, width) / _STD
        self._norm(decoder.layer_norm, _GAIN)
        for layer in decoder.layer:
            self._attention(layer.self_attention, (3 * width, width))
            self._attention(layer.attention, (width, 2 * width, width))
            self._feed_forward(layer.ffn)
        bias = np.full(self._n_tokens, _NEVER, np.float32)
        bias[text] = bias[-_N_TIMESTAMPS] = 0.0
        decoder.projection.weight = embeddings
        decoder.projection.bias = bias

    def _attention(self, spec: Any, n_outs: tuple[int, ...]) -> None:
        self._norm(spec.layer_norm)
        for linear, n_out in zip(spec.linear, n_outs, strict=True):
            self._linear(linear, n_out, self._shape.width)

    def _feed_forward(self, spec: Any) -> None:
        width = self._shape.width
        self._norm(spec.layer_norm)
        self._linear(spec.linear_0, 4 * width, width)
        self._linear(spec.linear_1, width, 4 * width)

    def _linear(self, spec: Any, n_out: int, n_in: int) -> None:
        spec.weight, spec.bias = self._draw(n_out, n_in), self._zeros(n_out)

    def _norm(self, spec: Any, gain: float = 1.0) -> None:
        spec.gamma = np.full(self._shape.width, gain, np.float32)
        spec.beta = self._zeros(self._shape.width)

    def _draw(self, *shape: int) -> NDArray[np.float32]:
        n = int(np.prod(shape))
        start = int(self._random.integers(max(len(self._block) - n, 1)))
        return np.resize(self._block[start : start + n], n).reshape(shape)

    def _zeros(self, n: int) -> NDArray[np.float32]:
        return np.zeros(n, np.float32)


def _tokenizer(data: dict[str, Any], shape: Shape) -> dict[str, Any]:
    """Return the tokenizer of the shape: for large-v3, Cantonese is added after the other languages."""
    if not shape.cantonese:
        return data
    added = data["added_tokens"]
    if any(token["content"] == _NEW_LANGUAGE for token in added):
        return data
    place = next(at for at, token in enumerate(added) if token["content"] == "<|translate|>")
    new = added[place] | {"content": _NEW_LANGUAGE}
    later = [token | {"id": token["id"] + 1} for token in added[place:]]
    # The post-processor refers to the ids before the shift. Nothing here uses it.
    return data | {"added_tokens": [*added[:place], new, *later], "post_processor": None}


def _letters(tokenizer: dict[str, Any]) -> list[int]:
    """Return the ids of the tokens that are one letter of any script."""
    decode = tokenizers.Tokenizer.from_str(json.dumps(tokenizer)).decode
    texts = ((at, decode([at])) for at in tokenizer["model"]["vocab"].values())
    return [at for at, text in texts if len(text) == 1 and text.isalpha()]


def _vocabulary(tokenizer: dict[str, Any]) -> list[str]:
    """Return all tokens ordered by id, with the timestamps at the end, as CTranslate2 expects them."""
    by_id = {at: token for token, at in tokenizer["model"]["vocab"].items()}
    by_id |= {token["id"]: token["content"] for token in tokenizer["added_tokens"]}
    timestamps = [f"<|{step * 0.02:.2f}|>" for step in range(_N_TIMESTAMPS)]
    return [*(by_id[at] for at in range(len(by_id))), *timestamps]


def _configure(config: WhisperConfig, tokens: list[str], shape: Shape) -> None:
    first, last = _special(tokens, "<|en|>"), _special(tokens, "<|translate|>") - 1
    config.suppress_ids = []
    config.suppress_ids_begin = [_special(tokens, "<|endoftext|>")]
    config.lang_ids = list(range(first, last + 1))
    config.alignment_heads = [(shape.layers - 1, head) for head in range(min(shape.heads, 8))]


def _special(tokens: list[str], name: str) -> int:
    return tokens.index(name)
