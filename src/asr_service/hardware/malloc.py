"""What the process keeps of its heap between calls of the model, and when it gives that back."""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # malloc.h
_KEPT_BYTES = 1 << 30
_IDLE_S = 60.0
_BUSY_S = 600.0


def keep_memory() -> None:
    """Let glibc keep the buffers of one call of the model for the next, where it would hand them back to the kernel.

    A window of 30 s takes half a gigabyte of them in turn, which the kernel would clear page by page each time: a fifth
    of the encoder's processor time. To be called before the process has threads: an arena that one already has for
    itself holds no buffer this large. Elsewhere than on glibc nothing happens.
    https://man7.org/linux/man-pages/man3/mallopt.3.html
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_ARENA_MAX, 1)


class Tidying:
    """When free memory goes back: a minute after the last work, and every ten minutes while there is some.

    What is kept only grows otherwise, to all that was ever in use at once and the holes between: seen were steps of
    40 MB, thousands of requests apart. Taking it anew costs the next calls tenths of a second in all.
    """

    def __init__(self, now: float) -> None:
        """`now`, here and below: monotonic seconds."""
        self._tidied_at = now
        self._untidy_since: float | None = None

    def is_due(self, now: float, worked_at: float) -> bool:
        """To be asked every few seconds; once it is, it counts as done. `worked_at` is when the last work ended."""
        if worked_at <= self._tidied_at:
            return False
        if self._untidy_since is None:
            self._untidy_since = now
        if now - worked_at <= _IDLE_S and now - self._untidy_since <= _BUSY_S:
            return False
        self._tidied_at, self._untidy_since = now, None
        return True


def give_memory_back() -> None:
    """Hand the heap's free pages to the kernel, those between used ones too. Elsewhere than on glibc nothing happens.

    https://man7.org/linux/man-pages/man3/malloc_trim.3.html
    """
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
