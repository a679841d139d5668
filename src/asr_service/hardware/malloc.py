"""How much free heap memory the process keeps between model calls, and when it returns that to the kernel.

Nothing here has an effect where the C library is not glibc.
"""

import ctypes
from typing import Final

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # malloc.h
_RETAINED_BYTES: Final = 1 << 30
_IDLE_S: Final = 60.0
_BUSY_S: Final = 600.0


def retain_heap() -> None:
    """Let glibc keep the buffers of a model call for the next call instead of returning them to the kernel.

    A window of 30 s uses half a gigabyte of buffers one after the other. The kernel would clear their pages each time,
    which takes a fifth of the encoder's processor time. Call this before the process has threads: a thread that already
    has an arena of its own does not use the retained memory.
    https://man7.org/linux/man-pages/man3/mallopt.3.html
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _RETAINED_BYTES)
        mallopt(_M_ARENA_MAX, 1)


def trim_heap() -> None:
    """Return the heap's free pages to the kernel, including those between used ones.

    https://man7.org/linux/man-pages/man3/malloc_trim.3.html
    """
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


class TrimSchedule:
    """Decides when to trim the heap: a minute after the last work, and every ten minutes while there is work.

    Without trimming, the heap grows to everything that was ever in use at once, plus the gaps: steps of 40 MB were
    observed, thousands of requests apart. After a trim, the next calls take tenths of a second longer in total.
    """

    def __init__(self, now: float) -> None:
        """`now`, here and in `is_due`, is in monotonic seconds."""
        self._trimmed_at = now
        self._untrimmed_since: float | None = None

    def is_due(self, now: float, worked_at: float) -> bool:
        """Return whether to trim now. Call it every few seconds; True counts as trimmed.

        `worked_at` is when the last work ended.
        """
        if worked_at <= self._trimmed_at:
            return False
        if self._untrimmed_since is None:
            self._untrimmed_since = now
        if now - worked_at <= _IDLE_S and now - self._untrimmed_since <= _BUSY_S:
            return False
        self._trimmed_at, self._untrimmed_since = now, None
        return True
