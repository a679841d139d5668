"""Describes the objects (chunks, boxes) of which containers consist, and reads their sizes."""

from dataclasses import dataclass
from typing import Final, Literal

_SIGNED_BYTES: Final = 8
"""Sizes of eight bytes are signed: -1 is not known."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where an object of a container has its size. Objects follow each other up to the end of the recording."""

    header_bytes: int
    size_at: int
    size_bytes: int
    byte_order: Literal["big", "little"]
    is_inclusive: bool
    """Whether the size includes the header."""
    alignment: int = 1

    def object_bytes(self, header: bytes) -> int:
        """Return the size of an object with its header, or a number below 1 if it is not known."""
        field = header[self.size_at : self.size_at + self.size_bytes]
        n_bytes = int.from_bytes(field, self.byte_order, signed=self.size_bytes == _SIGNED_BYTES)
        if n_bytes < (self.header_bytes if self.is_inclusive else 0):
            return 0
        n_bytes += 0 if self.is_inclusive else self.header_bytes
        return n_bytes + -n_bytes % self.alignment

    def body_bytes(self, header: bytes) -> int:
        """Return the size of an object without its header, read without a sign."""
        field = header[self.size_at : self.size_at + self.size_bytes]
        return int.from_bytes(field, self.byte_order) - (self.header_bytes if self.is_inclusive else 0)

    def size_field(self, body_bytes: int) -> bytes:
        """Return the size of an object with a body of this many bytes as it is stored, or the largest possible one."""
        n_bits = 8 * self.size_bytes - (self.size_bytes == _SIGNED_BYTES)
        n_bytes = body_bytes + (self.header_bytes if self.is_inclusive else 0)
        return min(n_bytes, (1 << n_bits) - 1).to_bytes(self.size_bytes, self.byte_order)


RIFF: Final = Layout(8, 4, 4, "little", is_inclusive=False, alignment=2)
AIFF: Final = Layout(8, 4, 4, "big", is_inclusive=False, alignment=2)
W64: Final = Layout(24, 16, 8, "little", is_inclusive=True, alignment=8)
CAF: Final = Layout(12, 4, 8, "big", is_inclusive=False)
ASF: Final = Layout(24, 16, 8, "little", is_inclusive=True)
MP4: Final = Layout(8, 0, 4, "big", is_inclusive=True)
MP4_LARGE: Final = Layout(16, 8, 8, "big", is_inclusive=True)
"""A box of MP4 whose size is in the eight bytes after its type."""
