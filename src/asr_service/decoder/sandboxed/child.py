"""The sandboxed child that decodes one file and exits. Only the fork server starts it, by a fork.

The child closes the descriptors that it does not need and restricts itself before it reads the first byte. It never
returns from `decode_and_exit` and raises nothing from it, so the fork server's code never runs in the child.
"""

import errno
import os
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NoReturn

from asr_service.decoder import protocol
from asr_service.decoder.protocol import DecodeLimits, DecodeOutcome
from asr_service.decoder.recording.decode import decode
from asr_service.decoder.sandboxed import sandbox

_UPLOAD: Final = 0  # the file becomes the child's standard input, the channel its standard output
_CHANNEL: Final = 1
_STDERR: Final = 2
_MAX_TRACEBACK_BYTES: Final = 8 * 1024


@dataclass(frozen=True, slots=True)
class InheritedFds:
    """The descriptors above 2 that a child inherits from the fork server."""

    upload: int
    channel: int
    to_close: Iterable[int]
    """The fork server's own descriptors."""


def decode_and_exit(inherited: InheritedFds, track: str, limits: DecodeLimits, server_pid: int) -> NoReturn:
    """Decode the file, send the result to the channel and exit. Call it in a fork only."""
    try:
        sandbox.die_with_parent(server_pid)
        _set_up_descriptors(inherited)
        sandbox.limit_resources(limits.cpu_s(os.fstat(_UPLOAD).st_size))
        sandbox.apply_seccomp()
        _decode_and_send(track, limits)
        os._exit(0)  # without the interpreter's shutdown, which needs system calls that are no longer allowed
    finally:
        os._exit(1)


def _set_up_descriptors(inherited: InheritedFds) -> None:
    """Keep the file and the channel. Standard error becomes /dev/null.

    The file controls what a library prints about it, so that output must not reach the service's log.
    """
    os.dup2(_CHANNEL, _STDERR)  # the fork server's standard output is /dev/null
    os.dup2(inherited.upload, _UPLOAD)
    os.dup2(inherited.channel, _CHANNEL)
    for descriptor in (inherited.upload, inherited.channel, *inherited.to_close):
        os.close(descriptor)


def _decode_and_send(track: str, limits: DecodeLimits) -> None:
    """Send samples and outcome, or the traceback of an error in our own code: that is not the file's fault."""
    try:
        sender = _Sender()
        outcome = _decode(track, limits, sender)
        sender.finish()
        _send(protocol.OUTCOME, outcome.to_bytes())
    except Exception as error:  # noqa: BLE001 - every error is reported
        text = "".join(traceback.format_exception(error))
        _send(protocol.FAULT, text.encode(errors="replace")[-_MAX_TRACEBACK_BYTES:])


def _decode(track: str, limits: DecodeLimits, sender: "_Sender") -> DecodeOutcome:
    try:
        return decode(UnnamedFile(_UPLOAD), limits, sender, track)
    except MemoryError:
        return DecodeOutcome("undecodable", "Decoding the file needs more memory than one file may use.")


def _send(kind: bytes, payload: bytes) -> None:
    rest = memoryview(protocol.frame(kind, payload))
    while rest:
        rest = rest[os.write(_CHANNEL, rest) :]


class _Sender:
    """Sends samples in frames of full size, as far as possible."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def samples(self, samples: bytes) -> None:
        self._pending += samples
        while len(self._pending) >= protocol.MAX_PAYLOAD_BYTES:
            _send(protocol.SAMPLES, bytes(self._pending[: protocol.MAX_PAYLOAD_BYTES]))
            del self._pending[: protocol.MAX_PAYLOAD_BYTES]

    def gap(self, n_samples: int) -> None:
        self.finish()
        _send(protocol.GAP, protocol.gap_payload(n_samples))

    def duration(self, seconds: float) -> None:
        _send(protocol.DURATION, protocol.duration_payload(seconds))

    def finish(self) -> None:
        if self._pending:
            _send(protocol.SAMPLES, bytes(self._pending))
            self._pending.clear()


class UnnamedFile:
    """A descriptor as a file object without a name."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self, n_bytes: int, /) -> bytes:
        return os.read(self._descriptor, n_bytes)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Return the new position, or a negative errno as FFmpeg expects it.

        A damaged header may lead to an offset that no file has.
        """
        try:
            return os.lseek(self._descriptor, offset, whence)
        except OSError as error:
            return -(error.errno or errno.EINVAL)

    def tell(self) -> int:
        return os.lseek(self._descriptor, 0, os.SEEK_CUR)
