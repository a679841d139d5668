"""What the service, its decoder server and the server's children say to each other.

Service and server talk over a socket that keeps packets apart. The service sends one byte with two descriptors beside
it: a file, and a channel for its child. The server answers each such order, in their order, with STARTED and the
child's pidfd beside it, or with REFUSED; says ENDED for each child that has ended; and began with READY.

On its channel, a stream, a child sends frames: a kind (1 byte), a length (4 bytes, little-endian), a payload. LENGTH at
most once, ahead of the samples (how long the recording seems to be, seconds as a float64), SAMPLES as often as it likes
(16 kHz mono s16le), and OUTCOME (JSON) last. A channel that ends without one is a child that died.

Standard library only: the server imports this and must stay small.
"""

import json
import math
import struct
from dataclasses import asdict, dataclass
from typing import Final, Literal

BYTES_PER_SAMPLE: Final = 2
MAX_PAYLOAD_BYTES: Final = 64 * 1024

READY: Final = b"R"
STARTED: Final = b"C"
REFUSED: Final = b"E"
ENDED: Final = b"X"

LENGTH: Final = b"L"
SAMPLES: Final = b"S"
OUTCOME: Final = b"O"

_PACKET: Final = struct.Struct("<cii")
PACKET_BYTES: Final = _PACKET.size
_HEADER: Final = struct.Struct("<cI")
HEADER_BYTES: Final = _HEADER.size
_SECONDS: Final = struct.Struct("<d")

Verdict = Literal["decoded", "unsupported", "undecodable", "too_long"]

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What one file may cost."""

    max_audio_s: float
    """Longest recording, in decoded seconds."""
    memory_bytes: int = 1024 * _MIB
    """Address space of the child."""
    max_decoded_bytes: int = 64 * 1024 * _MIB
    """Most PCM in the file's own rate, width and channels: 24 hours of 48 kHz stereo float are 33 GB."""
    stall_s: float = 30.0
    """Longest that a reader waits for the next bytes. Time in which nobody reads does not count."""
    start_s: float = 60.0
    """Longest that the decoder server may take to become ready."""
    answer_s: float = 5.0
    """Longest that it may take to start a child. It does nothing else, so that past this it hangs."""
    cpu_floor_s: int = 20
    """Processor seconds that any file may use."""
    cpu_s_per_mib: float = 40.0
    """More of them by the file's size: 1 MiB of Opus at 6 kbit/s is 23 minutes of speech, 10 s on a slow core."""
    audio_s_per_cpu_s: float = 50.0
    """And no more than decoding `max_audio_s` at this speed needs; MP3 goes ten times as fast."""

    def cpu_s(self, file_bytes: int) -> int:
        """Processor seconds that a file of this size may use."""
        by_size = file_bytes / _MIB * self.cpu_s_per_mib
        by_length = self.max_audio_s / self.audio_s_per_cpu_s
        return self.cpu_floor_s + int(min(by_size, by_length))

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "DecodeLimits":
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a file ended. `message` is for its sender, empty where it was decoded."""

    verdict: Verdict
    message: str = ""
    warnings: tuple[str, ...] = ()
    lost_s: float = 0.0

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, payload: bytes) -> "Outcome":
        """Raises ValueError, TypeError, KeyError, OverflowError or RecursionError: a child that was taken over may send
        anything.
        """
        fields = json.loads(payload)
        warnings = tuple(_text(line) for line in fields["warnings"])
        return cls(fields["verdict"], _text(fields["message"]), warnings, float(fields["lost_s"]))


def _text(said: object) -> str:
    """Raises ValueError: half a surrogate pair is no text, and could not be sent on."""
    return str(said).encode().decode()


@dataclass(frozen=True, slots=True)
class Packet:
    """What the server says."""

    kind: bytes
    pid: int = 0
    """The child that it is about."""
    number: int = 0
    """With REFUSED an errno; with ENDED the exit status, or the signal's number below zero."""

    def to_bytes(self) -> bytes:
        return _PACKET.pack(self.kind, self.pid, self.number)

    @classmethod
    def from_bytes(cls, packet: bytes) -> "Packet":
        return cls(*_PACKET.unpack(packet))


def frame(kind: bytes, payload: bytes = b"") -> bytes:
    return _HEADER.pack(kind, len(payload)) + payload


def parse_header(header: bytes) -> tuple[bytes, int]:
    """Kind and payload length. Raises ValueError: the length is not one that a child of ours sends."""
    kind, length = _HEADER.unpack(header)
    if length > MAX_PAYLOAD_BYTES:
        raise ValueError(f"a frame of {length} bytes")
    return kind, length


def length_payload(seconds: float) -> bytes:
    return _SECONDS.pack(seconds)


def parse_length(payload: bytes) -> float:
    """Seconds. Raises ValueError: no length of anything."""
    if len(payload) != _SECONDS.size:
        raise ValueError("a length of the wrong size")
    seconds: float = _SECONDS.unpack(payload)[0]
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"a length of {seconds} s")
    return seconds
