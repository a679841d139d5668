"""Seconds of audio that a key may have transcribed: a token bucket, in a file that all slots share."""

import fcntl
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_STATE: Final = struct.Struct("<dd")  # seconds left, and when that was so, by the machine's monotonic clock
_PER_S: Final = 1 / 60


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """Holds a minute's worth, and fills up steadily. It may be overdrawn: what was taken too much is waited for.

    Each call waits for the file's lock, which is held for microseconds, unless a process was stopped in just those.
    Raises OSError.
    """

    file: Path
    audio_s_per_minute: float
    clock: Callable[[], float] = time.monotonic

    def wait_s(self) -> float:
        """Until there is something left; 0 if there is now."""
        with self._locked() as descriptor:
            left_s = self._left_s(descriptor)
        return 0.0 if left_s > 0 else (1 - left_s) / (self.audio_s_per_minute * _PER_S)

    def charge(self, audio_s: float) -> None:
        """Take so much; a negative number gives it back."""
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
