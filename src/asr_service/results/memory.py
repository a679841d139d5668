"""Keeps results in the memory of one process."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from asr_service.results.store import Claimed, ClaimOutcome, Found, Held, Lease


@dataclass(frozen=True, slots=True)
class _Entry:
    value: bytes
    expires_at_s: float


@dataclass(frozen=True, slots=True)
class _HeldLease:
    lease: Lease
    expires_at_s: float


class MemoryStore:
    """Implements `ResultStore`. If the values take more than `max_bytes`, the least recently used are dropped."""

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, _Entry] = OrderedDict()  # the least recently used first
        self._leases: dict[str, _HeldLease] = {}
        self._n_bytes = 0

    def load(self, key: str) -> bytes | None:
        with self._lock:
            return self._load(key)

    def claim(self, key: str, lease: Lease, duration_s: float) -> ClaimOutcome:
        with self._lock:
            value = self._load(key)
            if value is not None:
                return Found(value)
            held = self._leases.get(lease.name)
            if held is not None and held.expires_at_s > self._clock():
                return Held(held.lease.note)
            self._leases[lease.name] = _HeldLease(lease, self._clock() + duration_s)
            return Claimed()

    def renew(self, lease: Lease, duration_s: float) -> bool:
        with self._lock:
            if not self._holds(lease):
                return False
            self._leases[lease.name] = _HeldLease(lease, self._clock() + duration_s)
            return True

    def release(self, lease: Lease) -> None:
        with self._lock:
            if self._holds(lease):
                del self._leases[lease.name]

    def store(self, key: str, value: bytes, ttl_s: float) -> None:
        with self._lock:
            self._drop(key)
            if len(value) > self._max_bytes:
                return
            self._entries[key] = _Entry(value, self._clock() + ttl_s)
            self._n_bytes += len(value)
            while self._n_bytes > self._max_bytes:
                self._drop(next(iter(self._entries)))

    def delete(self, key: str) -> None:
        with self._lock:
            self._drop(key)

    def sweep(self) -> None:
        with self._lock:
            now = self._clock()
            for key in [key for key, entry in self._entries.items() if entry.expires_at_s <= now]:
                self._drop(key)

    def is_sweep_due(self) -> bool:
        return False

    def n_bytes(self) -> int:
        return self._n_bytes

    def close(self) -> None:
        """Keep nothing open."""

    def _load(self, key: str) -> bytes | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.expires_at_s <= self._clock():
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry.value

    def _drop(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._n_bytes -= len(entry.value)

    def _holds(self, lease: Lease) -> bool:
        held = self._leases.get(lease.name)
        return held is not None and held.lease.token == lease.token and held.expires_at_s > self._clock()
