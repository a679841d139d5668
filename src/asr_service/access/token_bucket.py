"""A token bucket of audio seconds, in a file that all slots share."""

import fcntl
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_STATE: Final = struct.Struct("<dd")
"""The seconds left, and the time of that reading on the machine's monotonic clock."""
_PER_S: Final = 1 / 60


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """Limits a key's audio. Holds one minute's worth, refills steadily, and may be overdrawn: the debt must refill.

    Each method waits for the file's lock. The lock is held for microseconds, unless a process is stopped while it
    holds it. Raises OSError: the file cannot be used.
    """

    file: Path
    audio_s_per_minute: float
    clock: Callable[[], float] = time.monotonic

    def wait_s(self) -> float:
        """Return the seconds until something is left in the bucket; 0 if something is left now."""
        with self._locked() as descriptor:
            left_s = self._left_s(descriptor)
        return 0.0 if left_s > 0 else (1 - left_s) / (self.audio_s_per_minute * _PER_S)

    def charge(self, audio_s: float) -> None:
        """Take this many seconds out of the bucket. A negative number puts them back."""
        with self._locked() as descriptor:
            left_s = min(self._left_s(descriptor) - audio_s, self.audio_s_per_minute)
            os.pwrite(descriptor, _STATE.pack(left_s, self.clock()), 0)

    def _left_s(self, descriptor: int) -> float:
        state = os.pread(descriptor, _STATE.size, 0)
        now_s = self.clock()
        if len(state) < _STATE.size:
            return self.audio_s_per_minute
        left_s, at_s = _STATE.unpack(state)
        return float(min(left_s + max(now_s - at_s, 0) * self.audio_s_per_minute * _PER_S, self.audio_s_per_minute))

    @contextmanager
    def _locked(self) -> Iterator[int]:
        descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)
