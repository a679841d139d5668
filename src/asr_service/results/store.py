"""The contract of a store of results: values that expire, and leases on the work that computes them."""

from dataclasses import dataclass
from typing import Protocol


class StoreFailed(Exception):
    """The store cannot be used at the moment."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to compute a value while others wait for it. It expires unless it is renewed."""

    name: str
    """One process at a time holds the lease of a name."""
    token: str
    """Identifies the holder. Changes with any other token have no effect."""
    note: str = ""
    """What the others learn of the holder's work."""


@dataclass(frozen=True, slots=True)
class Found:
    """The value is stored."""

    value: bytes


@dataclass(frozen=True, slots=True)
class Claimed:
    """The value is not stored, and the caller has the lease."""


@dataclass(frozen=True, slots=True)
class Held:
    """The value is not stored, and another holder has the lease."""

    note: str


ClaimOutcome = Found | Claimed | Held


class ResultStore(Protocol):
    """Values by key. Keys and names of leases are letters, digits and hyphens.

    Every method blocks, for milliseconds if the store works, and may be called by several threads. Every method raises
    StoreFailed. The store may drop any value or lease at any time.
    """

    def load(self, key: str) -> bytes | None: ...

    def claim(self, key: str, lease: Lease, duration_s: float) -> ClaimOutcome:
        """Return the value or, if there is none, try to take the lease. No value is stored between the two steps."""

    def renew(self, lease: Lease, duration_s: float) -> bool:
        """Hold the lease for `duration_s` from now. Returns False if it is lost."""

    def release(self, lease: Lease) -> None:
        """Give the lease back, if it is still held."""

    def store(self, key: str, value: bytes, ttl_s: float) -> None:
        """Store a value for at most `ttl_s`. A value that is larger than the store may be is not stored."""

    def delete(self, key: str) -> None: ...

    def sweep(self) -> None:
        """Delete the values that have expired or are too many. Takes seconds if there are many."""

    def is_sweep_due(self) -> bool:
        """Return whether `sweep` should be called soon, because the values may take more than the maximum."""

    def n_bytes(self) -> int:
        """Return about how many bytes the store takes."""

    def close(self) -> None: ...
