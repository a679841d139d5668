"""The directory in which the slots of a machine share what each key uses."""

import fcntl
import os
from pathlib import Path

from asr_service.errors import ConfigurationError

_LEASE = "lease"
_BUCKET = "bucket"


def bucket_file(directory: Path, key_name: str) -> Path:
    """Return the file of a key's TokenBucket."""
    return directory / f"{key_name}.{_BUCKET}"


def acquire_lease(directory: Path, key_name: str, max_leases: int) -> int | None:
    """Take one of a key's leases, which all processes that use this directory share. Does not wait.

    Returns a descriptor, or None if all leases are taken. Closing the descriptor returns the lease. The kernel closes
    it however the process ends. Raises OSError: the directory cannot be used.
    """
    for number in range(max_leases):
        file = directory / f"{key_name}.{number}.{_LEASE}"
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            # Each descriptor holds its own lock, in one process or in several, and no lock survives an exec.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        else:
            return descriptor
    return None


def prepare(directory: Path) -> int:
    """Create the directory, lock it for this service and delete the files of an earlier one.

    Returns the lock's descriptor. The workers inherit it, and closing every copy releases the lock. Raises
    ConfigurationError: the directory cannot be used, or another service uses it.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = _lock(directory)
        clear(directory)
        (directory / ".write-probe").touch()
        (directory / ".write-probe").unlink()
    except BlockingIOError:
        raise ConfigurationError(
            f"ASR_KEY_USAGE_DIR={directory} is in use by another asr-service, or by workers that are finishing their "
            "last requests. Wait for it to end, or set another directory.",
            param="ASR_KEY_USAGE_DIR",
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"ASR_KEY_USAGE_DIR={directory} cannot be used: {error.strerror}. Set a directory that can be written.",
            param="ASR_KEY_USAGE_DIR",
        ) from error
    return lock


def clear(directory: Path) -> None:
    """Delete the usage files, and no other files. Raises OSError."""
    for kind in (_LEASE, _BUCKET):
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
