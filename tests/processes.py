"""Children of a process, as the kernel lists them.

psutil drops children that seem older than their parent after the clock was adjusted.
"""

from contextlib import suppress
from pathlib import Path

ZOMBIE = "Z"


def children(pid: int) -> dict[int, str]:
    """Return the state of each child by its process id: R, S, T, Z and so on (proc(5), /proc/PID/stat)."""
    found: dict[int, str] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == pid:
                found[int(stat.parent.name)] = state
    return found
