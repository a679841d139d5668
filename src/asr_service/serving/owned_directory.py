"""A directory that belongs to one running service."""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from asr_service.errors import ConfigurationError


@contextmanager
def owned_directory(directory: Path, *, setting: str, patterns: Sequence[str], mode: int) -> Iterator[None]:
    """Create and lock `directory`, and delete files that match `patterns` at the start and at the end.

    Workers inherit the lock, so that no other service takes the directory while one of them still runs.

    Raises ConfigurationError, which names `setting`: when the directory cannot be used, or another service uses it.
    """
    lock = _lock(directory, setting, patterns, mode)
    try:
        yield
    finally:
        with suppress(OSError):  # a worker may still be ending, and the directory may hold files of others
            _clear(directory, patterns)
            directory.rmdir()
        os.close(lock)


def _lock(directory: Path, setting: str, patterns: Sequence[str], mode: int) -> int:
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=mode)
        lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise _unusable(directory, setting, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _clear(directory, patterns)
        (directory / ".write-probe").touch()
        (directory / ".write-probe").unlink()
    except OSError as error:
        os.close(lock)
        raise _unusable(directory, setting, error) from error
    return lock


def _clear(directory: Path, patterns: Sequence[str]) -> None:
    for pattern in patterns:
        for file in directory.glob(pattern):
            file.unlink(missing_ok=True)


def _unusable(directory: Path, setting: str, error: OSError) -> ConfigurationError:
    if isinstance(error, BlockingIOError):
        reason = (
            f"The directory {directory} is in use by another asr-service, or by its workers that are finishing their "
            f"last requests. Wait for it to end, or set {setting} to another directory."
        )
    else:
        reason = (
            f"The directory {directory} cannot be used: {error.strerror}. Set {setting} to a directory that can be "
            "written."
        )
    return ConfigurationError(reason, param=setting)
