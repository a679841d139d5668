"""Keeps results in a directory, which the slots of a machine share and which outlives restarts.

    values/KEY      8 bytes with the time of expiry, then the value; the modification time is the time of the last use
    leases/NAME     the holder of a lease, as JSON
    leases.lock     locked (flock) while a process reads and changes leases
    space.lock      locked (flock) while a process makes space

Values are not synced to the disk: after a power failure, an incomplete one fails its checksum.
"""

import contextlib
import fcntl
import json
import os
import struct
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from asr_service.results.store import Claimed, ClaimOutcome, Found, Held, Lease, StoreFailed

_EXPIRY: Final = struct.Struct("<d")
_PART: Final = ".part"
_PART_AGE_S: Final = 3600.0
"""Age at which an incomplete file belongs to a process that has died."""
_MAX_LEASE_S: Final = 3600.0
"""A lease that lasts longer is damaged."""
_FILL_AFTER_EVICTION: Final = 0.9
_UNSCANNED_SHARE: Final = 1 / 32
"""How much a process may write before the sizes of all files must be added up again, as a part of the maximum."""


@dataclass(frozen=True, slots=True)
class _Stored:
    path: str
    n_bytes: int
    used_at: float


class DirectoryStore:
    """Implements `ResultStore`. A sweep deletes the least recently used values if all take more than `max_bytes`."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        """Create the directory. Raises OSError: it cannot be created or written."""
        self._values = directory / "values"
        self._leases = directory / "leases"
        self._leases_lock = directory / "leases.lock"
        self._space_lock = directory / "space.lock"
        self._max_bytes = max_bytes
        self._n_bytes = 0
        self._unscanned_bytes = max_bytes
        """Bytes that this process has written since it last added up the sizes; at first as if it were many."""
        for each in (directory, self._values, self._leases):
            each.mkdir(parents=True, exist_ok=True, mode=0o700)
        for lock in (self._leases_lock, self._space_lock):
            lock.touch(mode=0o600)

    def load(self, key: str) -> bytes | None:
        path = self._values / key
        with _failing():
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                return None
            if len(data) < _EXPIRY.size or _EXPIRY.unpack_from(data)[0] <= time.time():
                path.unlink(missing_ok=True)
                return None
            with contextlib.suppress(FileNotFoundError):  # another process has deleted it meanwhile
                os.utime(path)
            return data[_EXPIRY.size :]

    def claim(self, key: str, lease: Lease, duration_s: float) -> ClaimOutcome:
        with _failing(), _locked(self._leases_lock):
            value = self.load(key)
            if value is not None:
                return Found(value)
            held = self._holder(lease.name)
            if held is not None:
                return Held(held.note)
            self._write_lease(lease, duration_s)
            return Claimed()

    def renew(self, lease: Lease, duration_s: float) -> bool:
        with _failing(), _locked(self._leases_lock):
            if not self._holds(lease):
                return False
            self._write_lease(lease, duration_s)
            return True

    def release(self, lease: Lease) -> None:
        with _failing(), _locked(self._leases_lock):
            if self._holds(lease):
                (self._leases / lease.name).unlink(missing_ok=True)

    def store(self, key: str, value: bytes, ttl_s: float) -> None:
        data = _EXPIRY.pack(time.time() + ttl_s) + value
        with _failing():
            if len(data) > self._max_bytes:
                (self._values / key).unlink(missing_ok=True)
                return
            _write(self._values / key, data)
            self._unscanned_bytes += len(data)
            self._n_bytes += len(data)

    def delete(self, key: str) -> None:
        with _failing():
            (self._values / key).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Add up the sizes, delete what has expired and, if there is too much, what was not used for longest.

        Do nothing if another process does this at the moment.
        """
        with _failing(), contextlib.suppress(BlockingIOError), _locked(self._space_lock, fcntl.LOCK_NB):
            self._make_space()

    def is_sweep_due(self) -> bool:
        return self._unscanned_bytes > self._max_bytes * _UNSCANNED_SHARE

    def n_bytes(self) -> int:
        return self._n_bytes

    def close(self) -> None:
        """Keep nothing open."""

    def _holder(self, name: str) -> Lease | None:
        """Return the lease of this name, if it is held and has not expired."""
        try:
            held = json.loads((self._leases / name).read_bytes())
            if not 0 < held["expires_at"] - time.time() < _MAX_LEASE_S:
                return None
            return Lease(name, str(held["token"]), str(held["note"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def _holds(self, lease: Lease) -> bool:
        held = self._holder(lease.name)
        return held is not None and held.token == lease.token

    def _write_lease(self, lease: Lease, duration_s: float) -> None:
        held = {"token": lease.token, "note": lease.note, "expires_at": time.time() + duration_s}
        _write(self._leases / lease.name, json.dumps(held).encode())

    def _make_space(self) -> None:
        stored = sorted(self._scan(), key=lambda each: each.used_at)
        self._n_bytes = sum(each.n_bytes for each in stored)
        self._unscanned_bytes = 0
        if self._n_bytes > self._max_bytes:
            for each in stored:
                if self._n_bytes <= self._max_bytes * _FILL_AFTER_EVICTION:
                    break
                Path(each.path).unlink(missing_ok=True)
                self._n_bytes -= each.n_bytes

    def _scan(self) -> Iterator[_Stored]:
        now = time.time()
        for directory in (self._values, self._leases):
            with os.scandir(directory) as entries:
                for entry in entries:
                    with contextlib.suppress(FileNotFoundError):  # another process has deleted it meanwhile
                        status = entry.stat()
                        if entry.name.endswith(_PART) or directory == self._leases:
                            if now - status.st_mtime > _PART_AGE_S:
                                Path(entry.path).unlink()
                        elif _has_expired(entry.path, now):
                            Path(entry.path).unlink()
                        else:
                            yield _Stored(entry.path, status.st_size, status.st_mtime)


def _has_expired(path: str, now: float) -> bool:
    with Path(path).open("rb") as file:
        head = file.read(_EXPIRY.size)
    return len(head) < _EXPIRY.size or bool(_EXPIRY.unpack(head)[0] <= now)


@contextlib.contextmanager
def _locked(path: Path, flags: int = 0) -> Iterator[None]:
    """Hold a lock. Raises BlockingIOError: with LOCK_NB, if another process holds it."""
    with path.open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | flags)
        yield  # the lock ends with the descriptor


def _write(path: Path, data: bytes) -> None:
    """Write a file. No reader sees it before it is complete."""
    descriptor, part = tempfile.mkstemp(suffix=_PART, prefix=f"{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(part).rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(part).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreFailed(str(error)) from error
