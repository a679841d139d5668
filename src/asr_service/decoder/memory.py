"""The memory of all decoder children of a slot together.

A small file may make FFmpeg build large tables: the index of an MP4 track with 20 million samples takes 480 MB. Each
child has a limit of its own, but many such files at a time would use up the machine's memory.
"""

import os
from pathlib import Path
from typing import Final, Protocol

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class Evictable(Protocol):
    """A process whose memory is counted."""

    @property
    def pid(self) -> int: ...

    def evict(self) -> None:
        """Kill the process because memory is short."""


class MemoryBudget:
    """Limits the memory of all children together. If they need more, the largest one is killed."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._used: dict[Evictable, int] = {}

    def measure(self, child: Evictable, shared_bytes: int) -> None:
        """Count the memory of a child that runs. `shared_bytes` is the memory that it got from its parent."""
        self._used[child] = max(anonymous_bytes(child.pid) - shared_bytes, 0)
        while sum(self._used.values()) > self._limit_bytes:
            largest = max(self._used, key=self._used.__getitem__)
            del self._used[largest]
            largest.evict()

    def forget(self, child: Evictable) -> None:
        """Stop counting a child that has ended."""
        self._used.pop(child, None)


def anonymous_bytes(pid: int) -> int:
    """Return the resident memory of a process without mapped files, or 0 if it cannot be read."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
        return (int(fields[1]) - int(fields[2])) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return 0
