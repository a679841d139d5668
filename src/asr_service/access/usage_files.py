"""The files by which slots know what each key uses."""

from pathlib import Path

from asr_service.errors import ConfigurationError

_PLACE = "place"
_ALLOWANCE = "allowance"


def place_file(directory: Path, name: str, place: int) -> Path:
    return directory / f"{name}.{place}.{_PLACE}"


def allowance_file(directory: Path, name: str) -> Path:
    return directory / f"{name}.{_ALLOWANCE}"


def prepare(directory: Path) -> None:
    """Make the directory, and forget what an earlier service kept in it. Raises ConfigurationError."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        forget(directory)
        (directory / ".write-probe").touch()
        (directory / ".write-probe").unlink()
    except OSError as error:
        raise ConfigurationError(
            f"{directory}, where the keys' use is kept, cannot be used: {error.strerror}; set ASR_KEY_USAGE_DIR",
            param="ASR_KEY_USAGE_DIR",
        ) from error


def forget(directory: Path) -> None:
    """Remove these files and no others. Raises OSError."""
    for kind in (_PLACE, _ALLOWANCE):
        for file in directory.glob(f"*.{kind}"):
            file.unlink(missing_ok=True)
