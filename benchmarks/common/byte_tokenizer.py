"""Write a tokenizer.json in the layout of a multilingual Whisper, for machines without any Whisper model.

It has Whisper's special tokens with Whisper's ids. Text is encoded to single bytes; the other text tokens fill the
vocabulary. It is meant for models with random weights (`common.random_model`).
"""

import itertools
import json
from pathlib import Path
from string import ascii_lowercase
from typing import Any

from faster_whisper.tokenizer import _LANGUAGE_CODES  # noqa: PLC2701 - it has no public list
from tokenizers.pre_tokenizers import ByteLevel

from asr_service.models.packaged import packaged_parts

_N_TEXT_TOKENS = 50257
_CANTONESE = "yue"
_AFTER_THE_LANGUAGES = (
    "translate", "transcribe", "startoflm", "startofprev", "nocaptions", "notimestamps",
)  # fmt: skip


def any_tokenizer(folder: Path) -> Path:
    """Return the tokenizer.json of the extra base-model. If it is not installed, write one to `folder`."""
    parts = packaged_parts()
    return parts[0] / "tokenizer.json" if parts else write_byte_tokenizer(folder / "byte-tokenizer.json")


def write_byte_tokenizer(path: Path) -> Path:
    """Write the tokenizer.json."""
    filler = (f"Ġ{''.join(word)}" for word in itertools.product(ascii_lowercase, repeat=4))
    letters = sorted(ByteLevel.alphabet())
    # CTranslate2 takes a model for multilingual only if the empty token is there.
    texts = [*letters, *itertools.islice(filler, _N_TEXT_TOKENS - len(letters) - 1), ""]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    data = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_special(_N_TEXT_TOKENS + at, name) for at, name in enumerate(_special_names())],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "vocab": {text: at for at, text in enumerate(texts)},
            "merges": [],
        },
    }
    path.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
    return path


def _special_names() -> list[str]:
    others = [code for code in _LANGUAGE_CODES if code not in ("en", _CANTONESE)]
    return ["endoftext", "startoftranscript", "en", *others, *_AFTER_THE_LANGUAGES]


def _special(token_id: int, name: str) -> dict[str, Any]:
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": token_id, "content": f"<|{name}|>"} | plain
