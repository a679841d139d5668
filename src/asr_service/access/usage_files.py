"""The files by which slots know what each key uses."""

import fcntl
import os
from pathlib import Path

from asr_service.errors import ConfigurationError

_PLACE = "place"
_ALLOWANCE = "allowance"


def place_file(directory: Path, name: str, place: int) -> Path:
    return directory / f"{name}.{place}.{_PLACE}"


def allowance_file(directory: Path, name: str) -> Path:
    return directory / f"{name}.{_ALLOWANCE}"


def prepare(directory: Path) -> int:
    """Make the directory this service's own, and forget what an earlier one kept in it.

    Returns the descriptor of the lock, held until it is closed and inherited by the workers. Raises ConfigurationError:
    it cannot be used, or another service uses it.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = _lock(directory)
        forget(directory)
        (directory / ".write-probe").touch()
        (directory / ".write-probe").unlink()
    except BlockingIOError:
        raise ConfigurationError(
            f"{directory}, where the keys' use is kept, is in use by another asr-service, or by its workers that "
            "finish their last requests; wait for it to end, or give this one an ASR_KEY_USAGE_DIR of its own",
            param="ASR_KEY_USAGE_DIR",
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"{directory}, where the keys' use is kept, cannot be used: {error.strerror}; set ASR_KEY_USAGE_DIR",
            param="ASR_KEY_USAGE_DIR",
        ) from error
    return lock


def forget(directory: Path) -> None:
    """Remove these files and no others. Raises OSError."""
    for kind in (_PLACE, _ALLOWANCE):
        for file in directory.glob(f"*.{kind}"):
            file.unlink(missing_ok=True)


def _lock(directory: Path) -> int:
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise
    return lock
