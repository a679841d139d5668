"""The models that have a name: where each is, how to know it again, and what it needs.

Commits, sizes and sums of the hub's files were compared in at least two independent public listings of them.
"""

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

# What a model takes beside its weights. Large-v3's 3.1 GB in int8_float16 were measured; its 1.55e9 weights of a byte
# leave as much again, taken here for 0.3 GB that any model costs and the rest for what grows with the model.
_FIXED_BYTES: Final = int(0.3e9)
_WORKING_BYTES_PER_PARAMETER: Final = 0.8

_MEASURED_NEED_BYTES: Final = {("large-v3", "int8_float16"): int(3.1e9)}


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A named model: a repository of the hub at one commit, in CTranslate2's form."""

    name: str
    repository: str
    revision: str
    size_bytes: int
    """Of model.bin, which is all but the whole download."""
    sha256: str | None
    """Of model.bin; None where it is not known, and the hub's own word is taken."""
    parameters: int
    n_mels: int
    multilingual: bool
    """False where the model was trained for English alone, whatever its vocabulary holds."""
    files: tuple[str, ...]

    def memory_need_bytes(self, compute_type: str) -> int:
        """Give the memory for one request at a time: an estimate, except where `memory_is_measured`."""
        measured = _MEASURED_NEED_BYTES.get((self.name, compute_type))
        if measured is not None:
            return measured
        bytes_per_parameter = _BYTES_PER_WEIGHT[compute_type] + _WORKING_BYTES_PER_PARAMETER
        return _FIXED_BYTES + int(self.parameters * bytes_per_parameter)

    def memory_is_measured(self, compute_type: str) -> bool:
        return (self.name, compute_type) in _MEASURED_NEED_BYTES


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
"""The best model that the machine has room for."""


def is_path(model: str) -> bool:
    """Whether it leads to a folder, and is no name."""
    return "/" in model or model.startswith((".", "~")) or os.path.isdir(model)  # noqa: PTH112 - Path's may raise


def check_model(model: str) -> None:
    """Refuse an ASR_MODEL that is nothing a model may be called. Raises ConfigurationError."""
    if model != AUTO and not is_path(model):
        spec_named(model)


def spec_named(name: str) -> ModelSpec:
    """Look a model up by its name or its alias. Raises ConfigurationError."""
    spec = MODELS.get(_ALIASES.get(name, name))
    if spec is None:
        raise ConfigurationError(
            f"there is no model {name!r}; there is {', '.join(MODELS)}, or give a folder in CTranslate2's form",
            param="ASR_MODEL",
        )
    return spec


def aliases_of(name: str) -> tuple[str, ...]:
    """Its short names."""
    return tuple(alias for alias, long in _ALIASES.items() if long == name)
