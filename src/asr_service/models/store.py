"""Models on the disk: where they are looked for, and whether their files are complete."""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants

from asr_service.errors import ModelUnavailable
from asr_service.models.registry import ModelSpec
from asr_service.settings import Settings

_ALWAYS_NEEDED = ("model.bin", "config.json", "tokenizer.json")
_VOCABULARIES = ("vocabulary.json", "vocabulary.txt")
_NEEDED = (*_ALWAYS_NEEDED, *_VOCABULARIES, "preprocessor_config.json")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one file of a model."""

    file: str
    why: str

    def __str__(self) -> str:
        return f"{self.file} {self.why}"


@dataclass(frozen=True, slots=True)
class ModelStore:
    """Two places on the disk: `hub` has the layout of the hub's own cache; `own` has one plain folder per model."""

    hub: Path
    own: Path

    @classmethod
    def of(cls, settings: Settings) -> "ModelStore":
        if settings.model_dir is not None:
            return cls(hub=settings.model_dir, own=settings.model_dir)
        return cls(hub=Path(constants.HF_HUB_CACHE), own=Path(constants.HF_HOME) / "asr-service")

    def folder(self, spec: ModelSpec) -> Path:
        return self.own / spec.name

    def repository(self, spec: ModelSpec) -> Path:
        return self.hub / f"models--{spec.repository.replace('/', '--')}"

    def snapshot(self, spec: ModelSpec) -> Path:
        return self.repository(spec) / "snapshots" / spec.revision

    def candidates(self, spec: ModelSpec) -> list[Path]:
        """Return folders that may hold the model, best first. Other commits in the cache may have the same file."""
        folder = self.repository(spec) / "snapshots"
        try:
            snapshots = sorted(folder.iterdir())
        except OSError:  # there is none, or this user cannot read it
            snapshots = []
        snapshots.sort(key=lambda path: path.name != spec.revision)
        return [path for path in (self.folder(spec), *snapshots) if os.path.isdir(path)]  # noqa: PTH112 - Path's may raise

    @contextmanager
    def lock(self, spec: ModelSpec) -> Iterator[None]:
        """Let no other process download this model meanwhile. The lock ends with its process.

        Raises ModelUnavailable: the folder for locks cannot be written.
        """
        folder = self.own / ".locks"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = (folder / f"{spec.name}.lock").open("a")
        except OSError as error:
            raise ModelUnavailable(
                f"The model {spec.name!r} is missing or incomplete, and {folder} cannot be written ({error.strerror})."
                f" Run `asr-service models fetch {spec.name}` as a user who can write it, or set ASR_MODEL_DIR to"
                " another folder."
            ) from error
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def find_faults(store: ModelStore, spec: ModelSpec, folder: Path, *, thorough: bool = False) -> list[Fault]:
    """Return what is wrong with the files of a named model.

    Sizes are checked each time. Sums are checked once, again when a file's size or time has changed since, and if
    `thorough`.
    """
    wrong = _missing(folder, spec.files) or _denied(folder, spec.files) or _wrong_size(folder, spec)
    if wrong:
        return wrong
    stamp = _stamp(folder, spec)
    note = _note_path(store, spec, folder)
    if not thorough and (_read_note(note) == stamp or not _is_writable(store)):
        return []
    wrong = _unreadable(folder, spec) + _wrong_sum(folder, spec)
    if not wrong:
        _write_note(note, stamp)
    return wrong


def check_folder(folder: Path) -> Path:
    """Check that a folder has the files of a model in CTranslate2's format, and return the folder.

    Raises ModelUnavailable: a file is missing or cannot be read.
    """
    if not os.path.isdir(folder):  # noqa: PTH112 - Path's may raise
        raise ModelUnavailable(f"ASR_MODEL={folder}: the folder does not exist, or this user cannot read it.")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise ModelUnavailable(f"ASR_MODEL={folder}: this user cannot read the folder. Change its owner or its mode.")
    lacks = [name for name in _ALWAYS_NEEDED if not _has_content(folder / name)]
    if not any(_has_content(folder / name) for name in _VOCABULARIES):
        lacks.append(" or ".join(_VOCABULARIES))
    if lacks:
        raise ModelUnavailable(
            f"ASR_MODEL={folder} is not a model in CTranslate2's format: it lacks {', '.join(lacks)}. Convert a model"
            " with `ct2-transformers-converter --model NAME --output_dir FOLDER --copy_files tokenizer.json"
            " preprocessor_config.json --quantization float16`."
        )
    if denied := _denied(folder, tuple(name for name in _NEEDED if _has_content(folder / name))):
        raise ModelUnavailable(f"ASR_MODEL={folder}: {', '.join(map(str, denied))}. Change the owner or the mode.")
    return folder


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_faulty(folder: Path, faults: list[Fault]) -> None:
    """Delete the files that have faults, and the files in the hub's cache that they link to."""
    for fault in faults:
        path = folder / fault.file
        if path.is_symlink():
            path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def _has_content(path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_size > 0
    except OSError:  # a file that cannot be read counts as missing
        return False


def _missing(folder: Path, names: tuple[str, ...]) -> list[Fault]:
    return [Fault(name, "is missing") for name in names if not _has_content(folder / name)]


def _denied(folder: Path, names: tuple[str, ...]) -> list[Fault]:
    return [Fault(name, "cannot be read by this user") for name in names if not os.access(folder / name, os.R_OK)]


def _wrong_size(folder: Path, spec: ModelSpec) -> list[Fault]:
    size_bytes = (folder / "model.bin").stat().st_size
    if size_bytes == spec.size_bytes:
        return []
    return [Fault("model.bin", f"has {size_bytes} of {spec.size_bytes} bytes")]


def _unreadable(folder: Path, spec: ModelSpec) -> list[Fault]:
    return [Fault(name, "is damaged") for name in spec.files if name.endswith(".json") and not _is_json(folder / name)]


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return False
    return True


def _wrong_sum(folder: Path, spec: ModelSpec) -> list[Fault]:
    if sha256_of(folder / "model.bin") == spec.sha256:
        return []
    return [Fault("model.bin", "has the wrong sha256")]


# -- Notes of earlier checks, so that a start need not read gigabytes.


def _stamp(folder: Path, spec: ModelSpec) -> dict[str, list[int]]:
    stats = {name: (folder / name).stat() for name in spec.files}
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}


def _note_path(store: ModelStore, spec: ModelSpec, folder: Path) -> Path:
    where = hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:12]
    return store.own / ".verified" / f"{spec.name}-{where}.json"


def _is_writable(store: ModelStore) -> bool:
    """Return whether notes can be written. On a read-only volume the model was verified when the volume was filled."""
    try:
        (store.own / ".verified").mkdir(parents=True, exist_ok=True)
        (store.own / ".verified" / ".writable").touch()
    except OSError:
        return False
    return True


def _read_note(note: Path) -> object:
    try:
        return json.loads(note.read_bytes())
    except (OSError, ValueError):
        return None


def _write_note(note: Path, stamp: dict[str, list[int]]) -> None:
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(stamp))
    except OSError:  # on a read-only volume only `models verify` computes sums again
        return
