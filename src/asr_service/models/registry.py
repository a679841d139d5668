"""The named models: where each is published, how its files are verified, and how much memory it needs.

The commits, sizes and sums of the hub's files agree with at least two independent public listings of them.
"""

import difflib
import os
from dataclasses import dataclass
from typing import Final

from asr_service.errors import ConfigurationError

GIB: Final = 1024**3

_BYTES_PER_WEIGHT: Final = {
    "int8": 1.0,
    "int8_float16": 1.0,
    "int8_bfloat16": 1.0,
    "int8_float32": 1.0,
    "float16": 2.0,
    "bfloat16": 2.0,
    "float32": 4.0,
}
COMPUTE_TYPES: Final = tuple(_BYTES_PER_WEIGHT)
"""Precisions that ASR_COMPUTE_TYPE may name."""

_PUBLISHED_NEED_BYTES: Final = {("large-v3", "int8_float16"): int(3.1e9)}
"""Published by others and not measured by this project: faster-whisper's README of 2023 gives 3091 MB for
large-v2, which has as many parameters, in int8 with a beam width of 5 on a Tesla V100S."""

# Estimates of what a model needs in addition to its weights. They split the rest of the published figure, 3.1 GB less
# 1.55e9 weights of one byte, into 0.3 GB that any model needs and a part that grows with the model.
_FIXED_BYTES: Final = int(0.3e9)
_WORKING_BYTES_PER_PARAMETER: Final = 0.8


def estimated_need_bytes(parameters: int, compute_type: str) -> int:
    """Estimate the memory that a model with so many parameters needs for one request at a time."""
    return _FIXED_BYTES + int(parameters * (_BYTES_PER_WEIGHT[compute_type] + _WORKING_BYTES_PER_PARAMETER))


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A named model: a repository of the hub at one commit, in CTranslate2's format."""

    name: str
    repository: str
    revision: str
    size_bytes: int
    """Size of model.bin, which is nearly the whole download."""
    sha256: str
    """Sum of model.bin."""
    parameters: int
    n_mels: int
    multilingual: bool
    """False if the model was trained for English alone, even if its vocabulary has other languages."""
    files: tuple[str, ...]

    def memory_need_bytes(self, compute_type: str) -> int:
        """Return the memory for one request at a time: a published figure or an estimate (`memory_is_published`)."""
        published = _PUBLISHED_NEED_BYTES.get((self.name, compute_type))
        return estimated_need_bytes(self.parameters, compute_type) if published is None else published

    def memory_is_published(self, compute_type: str) -> bool:
        """Return whether `memory_need_bytes` is a figure that others have published, and no estimate."""
        return (self.name, compute_type) in _PUBLISHED_NEED_BYTES


_FILES: Final = ("config.json", "tokenizer.json", "vocabulary.txt", "model.bin")
_FILES_SINCE_V3: Final = ("config.json", "preprocessor_config.json", "tokenizer.json", "vocabulary.json", "model.bin")

# Name, repository, commit, bytes and sha256 of model.bin, millions of parameters.
_ENGLISH_AND_OLD: Final = (
    ("tiny", "Systran/faster-whisper-tiny", "d90ca5fe260221311c53c58e660288d3deb8d356",
     75_538_270, "dcb76c6586fc06cbdac6dd21f14cfd129cc4cdd9dce19bf4ffa62e59cbe6e6d1", 39),
    ("tiny.en", "Systran/faster-whisper-tiny.en", "0d3d19a32d3338f10357c0889762bd8d64bbdeba",
     75_537_502, "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a", 39),
    ("base", "Systran/faster-whisper-base", "ebe41f70d5b6dfa9166e2c581c45c9c0cfc57b66",
     145_217_532, "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9", 74),
    ("base.en", "Systran/faster-whisper-base.en", "3d3d5dee26484f91867d81cb899cfcf72b96be6c",
     145_216_508, "2a166925539a16005f14ff328359f9b9adb9dc4fb631bb3b227526862e93e2ef", 74),
    ("small", "Systran/faster-whisper-small", "536b0662742c02347bc0e980a01041f333bce120",
     483_546_902, "3e305921506d8872816023e4c273e75d2419fb89b24da97b4fe7bce14170d671", 244),
    ("small.en", "Systran/faster-whisper-small.en", "d1d751a5f8271d482d14ca55d9e2deeebbae577f",
     483_545_366, "62b2a45b05ee59acb4a5341b33ee35e041395d378d418a18acfe4c9e768ee37a", 244),
    ("medium", "Systran/faster-whisper-medium", "08e178d48790749d25932bbc082711ddcfdfbc4f",
     1_527_906_378, "9b45e1009dcc4ab601eff815b61d80e60ce3fd8c74c1a14f4a282258286b51ae", 769),
    ("medium.en", "Systran/faster-whisper-medium.en", "a29b04bd15381511a9af671baec01072039215e3",
     1_527_904_330, "11b220779aea4c6f3ce9d2549c8a95ea869ed84066864b999531ef53e594fe5b", 769),
    ("large-v2", "Systran/faster-whisper-large-v2", "f0fe81560cb8b68660e564f55dd99207059c092e",
     3_086_912_962, "bf2a9746382e1aa7ffff6b3a0d137ed9edbd9670c3b87e5d35f5e85e70d0333a", 1550),
)  # fmt: skip
_SINCE_V3: Final = (
    ("large-v3", "Systran/faster-whisper-large-v3", "edaa852ec7e145841d8ffdb056a99866b5f0a478",
     3_087_284_237, "69f74147e3334731bc3a76048724833325d2ec74642fb52620eda87352e3d4f1", 1550),
    ("large-v3-turbo", "mobiuslabsgmbh/faster-whisper-large-v3-turbo", "0a363e9161cbc7ed1431c9597a8ceaf0c4f78fcf",
     1_617_884_929, "e76620f83d5f5b69efd3d87e3dc180c1bd21df9fbebacfd4335e5e1efcc018da", 809),
    ("distil-large-v3", "Systran/faster-distil-whisper-large-v3", "c3058b475261292e64a0412df1d2681c06260fab",
     1_512_927_867, "b79368e19b6623813609431a6e5ee309a71506701ebc49fd7820e692dec7c5f5", 756),
    ("distil-large-v3.5", "distil-whisper/distil-large-v3.5-ct2", "9793ccc07920e0f830e1dba0343efcdf0ef8c903",
     1_512_927_867, "c58b88b8585ffcd2135fddaaf421ce72cb223b32edea70d156aed1dea319a119", 756),
    ("distil-medium.en", "Systran/faster-distil-whisper-medium.en", "80ddfce281f77766d8943d63109199fc8145dfa5",
     788_826_555, "d4cb75d823dcd2647191064da76f026774c06c036908f38456165368d0e2d66a", 394),
    ("distil-small.en", "Systran/faster-distil-whisper-small.en", "ef77d90526ccd62cde3808ee70626a01e5cf83e4",
     332_308_257, "1187de3982cdcf962a2fb8f797e429fb4651b875b18fe9ce50b58b52fc9072b7", 166),
)  # fmt: skip
_128_MELS: Final = {"large-v3", "large-v3-turbo", "distil-large-v3", "distil-large-v3.5"}
_ALIASES: Final = {"large": "large-v3", "turbo": "large-v3-turbo"}


def _specs() -> dict[str, ModelSpec]:
    rows = [(row, _FILES) for row in _ENGLISH_AND_OLD] + [(row, _FILES_SINCE_V3) for row in _SINCE_V3]
    return {
        name: ModelSpec(
            name=name,
            repository=repository,
            revision=revision,
            size_bytes=size_bytes,
            sha256=sha256,
            parameters=millions * 1_000_000,
            n_mels=128 if name in _128_MELS else 80,
            multilingual=not (name.endswith(".en") or name.startswith("distil")),
            files=files,
        )
        for (name, repository, revision, size_bytes, sha256, millions), files in rows
    }


MODELS: Final = _specs()

AUTO: Final = "auto"
"""The value of ASR_MODEL that lets the machine decide (`models.auto`)."""


def is_path(model: str) -> bool:
    """Return whether the value of ASR_MODEL is a path to a folder, and not a name."""
    return "/" in model or model.startswith((".", "~")) or os.path.isdir(model)  # noqa: PTH112 - Path's may raise


def check_model(model: str) -> None:
    """Check that the value of ASR_MODEL is `auto`, a name or a path. Raises ConfigurationError."""
    if model != AUTO and not is_path(model):
        spec_named(model)


def spec_named(name: str) -> ModelSpec:
    """Return the model with this name or alias. Raises ConfigurationError: there is none."""
    spec = MODELS.get(_ALIASES.get(name, name))
    if spec is None:
        raise ConfigurationError(
            f"Model {name!r} is not available{_hint(name)}. Available: {', '.join(MODELS)}; or the path of a folder"
            " with a model in CTranslate2's format.",
            param="ASR_MODEL",
        )
    return spec


def _hint(name: str) -> str:
    close = difflib.get_close_matches(name, [*MODELS, *_ALIASES], n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def aliases_of(name: str) -> tuple[str, ...]:
    """Return the other names of a model: its short ones, and for OpenAI's models those at OpenAI's hub and at Groq."""
    short = tuple(alias for alias, long in _ALIASES.items() if long == name)
    return short if name.startswith("distil") else (*short, f"openai/whisper-{name}", f"whisper-{name}")
