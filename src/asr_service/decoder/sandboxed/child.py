"""The sandboxed child that decodes one file and exits. Only the fork server starts it, by a fork.

The child closes the descriptors that it does not need and restricts itself before it reads the first byte. It never
returns from `decode_and_exit` and raises nothing from it, so the fork server's code never runs in the child.
"""

import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NoReturn

from asr_service.decoder import protocol
from asr_service.decoder.protocol import DecodeLimits, Outcome
from asr_service.decoder.sandboxed import media, sandbox

_UPLOAD: Final = 0  # the file becomes the child's standard input, the channel its standard output
_CHANNEL: Final = 1
_STDERR: Final = 2


@dataclass(frozen=True, slots=True)
class InheritedFds:
    """The descriptors above 2 that a child inherits from the fork server."""

    upload: int
    channel: int
    to_close: Iterable[int]
    """The fork server's own descriptors."""


def decode_and_exit(inherited: InheritedFds, limits: DecodeLimits, server_pid: int) -> NoReturn:
    """Decode the file, send the result to the channel and exit. Call it in a fork only."""
    try:
        sandbox.die_with_parent(server_pid)
        _set_up_descriptors(inherited)
        sandbox.limit_resources(limits.cpu_s(os.fstat(_UPLOAD).st_size))
        sandbox.apply_seccomp()
        _send(protocol.OUTCOME, _decode(limits).to_bytes())
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


def _decode(limits: DecodeLimits) -> Outcome:
    try:
        return media.decode(_Upload(_UPLOAD), limits, _send_samples, _send_duration)
    except MemoryError:
        return Outcome("undecodable", "Decoding the file needs more memory than one file may use.")


def _send(kind: bytes, payload: bytes) -> None:
    rest = memoryview(protocol.frame(kind, payload))
    while rest:
        rest = rest[os.write(_CHANNEL, rest) :]


def _send_samples(samples: bytes) -> None:
    _send(protocol.SAMPLES, samples)


def _send_duration(seconds: float) -> None:
    _send(protocol.DURATION, protocol.duration_payload(seconds))


class _Upload:
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
