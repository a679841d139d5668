"""The sandboxed child that decodes one file and ends. Started by `audio.ingest`, never by hand.

    python -I -m asr_service.audio.decoder_child CHANNEL LIMITS PARENT

CHANNEL is the descriptor of a stream socket, LIMITS is DecodeLimits as JSON, PARENT the service's process number. It
warms up, walls itself in, says READY, waits for a file, decodes it into the channel and ends.
"""

import errno
import io
import os
import socket
import struct
import sys
from typing import Final

from asr_service.audio import decoder_media, decoder_protocol, decoder_sandbox
from asr_service.audio.decoder_protocol import DecodeLimits, Outcome

_ROOM_BYTES: Final = 32 * 1024 * 1024


class _Channel:
    """The socket as a plain descriptor: `write` is among the few calls that the sandbox allows."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer

    def receive_file(self) -> int | None:
        """The file's descriptor, once the service sends one; None where it closed instead."""
        _, descriptors, _, _ = socket.recv_fds(self._peer, 1, 1)
        return descriptors[0] if descriptors else None

    def send(self, kind: bytes, payload: bytes = b"") -> None:
        rest = memoryview(decoder_protocol.frame(kind, payload))
        while rest:
            rest = rest[os.write(self._peer.fileno(), rest) :]

    def send_samples(self, samples: bytes) -> None:
        self.send(decoder_protocol.SAMPLES, samples)


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


def main(arguments: list[str]) -> None:
    descriptor, limits_json, parent_pid = arguments
    decoder_sandbox.die_with_parent(int(parent_pid))
    channel = _Channel(socket.socket(fileno=int(descriptor)))
    limits = DecodeLimits.from_json(limits_json)
    _warm_up(limits)
    decoder_sandbox.enclose(limits)
    bytearray(_ROOM_BYTES)  # or it ends here, where it is the operator's memory limit and no caller's file
    channel.send(decoder_protocol.READY)
    _silence_stderr()
    upload = channel.receive_file()
    if upload is not None:
        decoder_sandbox.seal(limits.cpu_s(os.fstat(upload).st_size))
        outcome = _decode(upload, limits, channel)
        channel.send(decoder_protocol.OUTCOME, outcome.to_bytes())
    os._exit(0)  # no interpreter shutdown: it would want calls that are sealed off


def _decode(upload: int, limits: DecodeLimits, channel: _Channel) -> Outcome:
    try:
        return decoder_media.decode(_Upload(upload), limits, channel.send_samples)
    except MemoryError:
        return Outcome("undecodable", "decoding it takes more memory than one file may have")


def _warm_up(limits: DecodeLimits) -> None:
    """Decode a moment of silence, so that whatever loads late is loaded: nothing can be opened afterwards."""
    pcm = bytes(8_000)
    form = struct.pack("<HHIIHH", 1, 2, 8_000, 32_000, 4, 16)
    wav = b"RIFF" + struct.pack("<I", 36 + len(pcm)) + b"WAVEfmt " + struct.pack("<I", 16) + form
    outcome = decoder_media.decode(io.BytesIO(wav + b"data" + struct.pack("<I", len(pcm)) + pcm), limits, len)
    outcome.to_bytes()


def _silence_stderr() -> None:
    """What a library says when a stranger's file breaks it is the stranger's to word."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)


if __name__ == "__main__":
    main(sys.argv[1:])
