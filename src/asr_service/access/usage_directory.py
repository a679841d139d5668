"""The directory in which the slots of a machine share the usage of each key."""

import fcntl
import os
from pathlib import Path

_LEASE = "lease"
_BUCKET = "bucket"

USAGE_FILES = (f"*.{_LEASE}", f"*.{_BUCKET}")
"""Patterns of the files in the directory."""


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
