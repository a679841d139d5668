"""The messages between the service, the fork server and the decoder children.

The service and the fork server share a SOCK_SEQPACKET socket, which keeps packets apart:

- To request a child, the service sends FORK and the wanted audio track as text, and attaches two descriptors: the file,
  and the child's channel.
- The fork server sends READY once, with the restrictions that hold. It then answers each request, in order, with
  STARTED and the child's pidfd attached, or with FAILED. It sends EXITED for each child that has exited.

A child writes frames to its channel, a stream socket. A frame is a kind (1 byte), a length (4 bytes, little-endian) and
a payload of that length:

- DURATION, at most once, before the samples: the recording's estimated seconds, as a float64.
- SAMPLES, any number of times: 16 kHz mono s16le. All but the last before another kind of frame have
  MAX_PAYLOAD_BYTES, so that a child cannot occupy the service with tiny frames.
- GAP, at most MAX_GAPS times: the number of samples by which the next sample lies later in the recording than the
  previous one. At least MIN_SAMPLES_BETWEEN_GAPS samples come between two gaps.
- OUTCOME, last: JSON. If the channel closes without it, the child died.
- FAULT, last, instead of OUTCOME: the traceback of an error in our own code, as UTF-8.

This module uses the standard library only, because the fork server imports it and must stay small.
"""

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, get_args

BYTES_PER_SAMPLE: Final = 2
MAX_PAYLOAD_BYTES: Final = 64 * 1024
MIN_SAMPLES_BETWEEN_GAPS: Final = 1600
MAX_GAPS: Final = 100_000
MAX_TRACK_BYTES: Final = 64

FORK: Final = b"F"
READY: Final = b"R"
STARTED: Final = b"C"
FAILED: Final = b"E"
EXITED: Final = b"X"

DURATION: Final = b"L"
SAMPLES: Final = b"S"
GAP: Final = b"G"
OUTCOME: Final = b"O"
FAULT: Final = b"T"

_PACKET: Final = struct.Struct("<cii")
PACKET_BYTES: Final = _PACKET.size
_HEADER: Final = struct.Struct("<cI")
_SECONDS: Final = struct.Struct("<d")
_GAP: Final = struct.Struct("<Q")
HEADER_BYTES: Final = _HEADER.size

Verdict = Literal["decoded", "unsupported", "undecodable", "too_long", "no_such_track"]

RESTRICTIONS: Final = {
    "files": "opens no other file",
    "network": "opens no network connection",
    "processes": "starts no process",
    "writing": "writes no file",
    "memory": "has limited memory",
    "processor_time": "has limited processor time",
    "privileges": "gains no privileges",
}
"""What a decoder child cannot do, by name. READY has one bit for each, in this order from the lowest bit."""

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """The resources that one file may use."""

    max_audio_s: float
    """Maximum duration of a recording, in decoded seconds."""
    memory_bytes: int = 1024 * _MIB
    """Maximum address space of a child."""
    total_memory_bytes: int = 1024 * _MIB
    """Maximum memory of all children together, without what they share with the fork server."""
    max_decoded_bytes: int = 64 * 1024 * _MIB
    """Maximum PCM size at the file's own rate, width and channels. 24 hours of 48 kHz stereo float are 33 GB."""
    stall_timeout_s: float = 30.0
    """Maximum time that a child may run without sending anything. A child runs only while its reader has a permit."""
    start_timeout_s: float = 60.0
    """Maximum time until the fork server is ready."""
    fork_timeout_s: float = 5.0
    """Maximum time until the fork server answers a request. It has no other work, so after this time it hangs."""
    min_cpu_s: int = 20
    """CPU seconds that any file may use."""
    cpu_s_per_mib: float = 40.0
    """Further CPU seconds per MiB of file. 1 MiB of Opus at 6 kbit/s is 23 minutes of speech, 10 s on a slow core."""
    min_decode_speed: float = 50.0
    """Seconds of audio per CPU second. `cpu_s_per_mib` adds at most the CPU time of `max_audio_s` at this speed.

    MP3 decodes ten times as fast.
    """

    def cpu_s(self, file_bytes: int) -> int:
        """Return the CPU seconds that a file of this size may use."""
        by_size = file_bytes / _MIB * self.cpu_s_per_mib
        by_duration = self.max_audio_s / self.min_decode_speed
        return self.min_cpu_s + int(min(by_size, by_duration))

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "DecodeLimits":
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class RecordingWarning:
    """A warning about the recording."""

    code: str
    message: str
    """A sentence for the client."""
    values: Mapping[str, int | float | str] = field(default_factory=dict)
    """The numbers and names of the sentence. Names of seconds end with `_s`."""


@dataclass(frozen=True, slots=True)
class DecodeOutcome:
    """The result of decoding one file."""

    verdict: Verdict
    message: str = ""
    """The error message for the client. Empty if the file was decoded."""
    warnings: tuple[RecordingWarning, ...] = ()

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, payload: bytes) -> "DecodeOutcome":
        """Parse the payload of an OUTCOME frame. The child may be compromised and may send anything.

        Raises ValueError: the payload is invalid.
        """
        try:
            fields = json.loads(payload)
            outcome = cls(fields["verdict"], _text(fields["message"]), tuple(map(_warning, fields["warnings"])))
        except (TypeError, KeyError, RecursionError) as error:
            raise ValueError(f"not an outcome: {error!r}") from error
        if outcome.verdict not in get_args(Verdict):
            raise ValueError("an unknown verdict")
        return outcome


def _warning(fields: dict[str, Any]) -> RecordingWarning:
    values = {_text(name): _value(value) for name, value in dict(fields["values"]).items()}
    return RecordingWarning(_text(fields["code"]), _text(fields["message"]), values)


def _value(value: object) -> int | float | str:
    """Return `value` as a finite number or as text. Raises ValueError."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a finite number.")
    return value if isinstance(value, int | float) else _text(value)


def _text(value: object) -> str:
    """Return `value` as text that can be encoded. Raises ValueError: it holds half of a surrogate pair."""
    return str(value).encode().decode()


@dataclass(frozen=True, slots=True)
class Packet:
    """A message of the fork server."""

    kind: bytes
    pid: int = 0
    """The child's process id, for STARTED and EXITED."""
    number: int = 0
    """READY: the restrictions that hold, as bits. FAILED: an errno. EXITED: the exit status, or the negative number of
    the signal that killed the child."""

    def to_bytes(self) -> bytes:
        return _PACKET.pack(self.kind, self.pid, self.number)

    @classmethod
    def from_bytes(cls, packet: bytes) -> "Packet":
        return cls(*_PACKET.unpack(packet))


def frame(kind: bytes, payload: bytes = b"") -> bytes:
    return _HEADER.pack(kind, len(payload)) + payload


def duration_payload(seconds: float) -> bytes:
    return _SECONDS.pack(seconds)


def parse_duration(payload: bytes) -> float:
    """Return the seconds of a DURATION frame. Raises ValueError: the payload is not a valid duration."""
    if len(payload) != _SECONDS.size:
        raise ValueError(f"a duration of {len(payload)} bytes instead of {_SECONDS.size}")
    seconds: float = _SECONDS.unpack(payload)[0]
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"a duration of {seconds} s")
    return seconds


def gap_payload(n_samples: int) -> bytes:
    return _GAP.pack(n_samples)


def parse_gap(payload: bytes) -> int:
    """Return the number of samples. Raises ValueError: the payload is invalid."""
    if len(payload) != _GAP.size:
        raise ValueError("a gap has eight bytes")
    n_samples: int = _GAP.unpack(payload)[0]
    return n_samples


def parse_header(header: bytes) -> tuple[bytes, int]:
    """Return kind and payload length. Raises ValueError: the payload is longer than MAX_PAYLOAD_BYTES."""
    kind, length = _HEADER.unpack(header)
    if length > MAX_PAYLOAD_BYTES:
        raise ValueError(f"a frame of {length} bytes is too long")
    return kind, length


def held_restrictions(bits: int) -> dict[str, bool]:
    """Return whether each of RESTRICTIONS holds."""
    return {name: bool(bits >> i & 1) for i, name in enumerate(RESTRICTIONS)}
