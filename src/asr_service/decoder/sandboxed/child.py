"""The sandboxed child that decodes one file and ends: forked by `decoder_server`, never anything else.

It closes what is not its own, seals itself, and only then reads the first byte. No exception and no return leads out of
`decode_and_end`, back into the server's program.
"""

import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NoReturn

from asr_service.decoder import protocol
from asr_service.decoder.protocol import DecodeLimits, Outcome
from asr_service.decoder.sandboxed import media, sandbox

_UPLOAD: Final = 0  # the file is a child's standard input, and the channel its standard output
_CHANNEL: Final = 1
_STDERR: Final = 2


@dataclass(frozen=True, slots=True)
class Inheritance:
    """What a child has from its server: descriptors above 2."""

    upload: int
    channel: int
    not_its_own: Iterable[int]


def decode_and_end(inherited: Inheritance, limits: DecodeLimits, server_pid: int) -> NoReturn:
    """Decode the file into the channel. Call in a fork."""
    try:
        sandbox.die_with_parent(server_pid)
        _keep_only(inherited)
        sandbox.seal(limits.cpu_s(os.fstat(_UPLOAD).st_size))
        _send(protocol.OUTCOME, _decode(limits).to_bytes())
        os._exit(0)  # no interpreter shutdown: it would want calls that are sealed off
    finally:
        os._exit(1)


def _keep_only(inherited: Inheritance) -> None:
    """What a library says when a stranger's file breaks it is the stranger's to word: it goes to /dev/null."""
    os.dup2(_CHANNEL, _STDERR)  # the server's standard output
    os.dup2(inherited.upload, _UPLOAD)
    os.dup2(inherited.channel, _CHANNEL)
    for descriptor in (inherited.upload, inherited.channel, *inherited.not_its_own):
        os.close(descriptor)


def _decode(limits: DecodeLimits) -> Outcome:
    try:
        return media.decode(_Upload(_UPLOAD), limits, _send_samples, _send_length)
    except MemoryError:
        return Outcome("undecodable", "decoding it takes more memory than one file may have")


def _send(kind: bytes, payload: bytes) -> None:
    rest = memoryview(protocol.frame(kind, payload))
    while rest:
        rest = rest[os.write(_CHANNEL, rest) :]


def _send_samples(samples: bytes) -> None:
    _send(protocol.SAMPLES, samples)


def _send_length(seconds: float) -> None:
    _send(protocol.LENGTH, protocol.length_payload(seconds))


class _Upload:
    """A descriptor as a file object without a name."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self, n_bytes: int, /) -> bytes:
        return os.read(self._descriptor, n_bytes)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """The new position; negative, as FFmpeg has it, where a damaged header leads to no place in any file."""
        try:
            return os.lseek(self._descriptor, offset, whence)
        except OSError as error:
            return -(error.errno or errno.EINVAL)

    def tell(self) -> int:
        return os.lseek(self._descriptor, 0, os.SEEK_CUR)
