"""How many of a key's requests are open, counted by locks that the kernel takes back when a process ends."""

import fcntl
import os
from pathlib import Path

from asr_service.access.usage_files import place_file


def acquire_lease(directory: Path, name: str, n_places: int) -> int | None:
    """Take one of `n_places`, of which all processes that name this directory have their share; None if all are taken.

    Returns a descriptor: the place is held until it is closed, by whatever end the process comes to. Does not wait.
    Raises OSError.
    """
    for place in range(n_places):
        descriptor = os.open(place_file(directory, name, place), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            # Each descriptor locks for itself, in one process as in several, and none outlives an exec.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        else:
            return descriptor
    return None
