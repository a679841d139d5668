"""The decoder server: one warm process a worker, which forks a child for each file and reads no byte of any.

    python -I -m asr_service.decoder.sandboxed.fork_server CONTROL LIMITS PARENT

CONTROL is the descriptor of a socket (`decoder_protocol` has what is said on it), LIMITS is DecodeLimits as JSON,
PARENT the service's process number. Started by `decoder.process`, never by hand. A fresh interpreter that imports
FFmpeg costs 100 ms of processor time and more; a fork of one that has done so costs 1 ms.
"""

import errno
import gc
import io
import os
import select
import signal
import socket
import struct
import sys
from typing import Final

from asr_service.decoder import protocol
from asr_service.decoder.protocol import DecodeLimits, Packet
from asr_service.decoder.sandboxed import media, sandbox
from asr_service.decoder.sandboxed.child import Inheritance, decode_and_end

_ROOM_BYTES: Final = 32 * 1024 * 1024
_DESCRIPTORS_OF_AN_ORDER: Final = 2
_NOT_FOR_US: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class _Server:
    def __init__(self, control: socket.socket, limits: DecodeLimits) -> None:
        self._control = control
        self._limits = limits
        self._children: dict[int, int] = {}  # process numbers by pidfd
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)

    def serve(self) -> None:
        """Start children and collect them, until the service closes its end."""
        self._say(Packet(protocol.READY))
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor in self._children:
                    self._collect(descriptor)
                elif not self._take_order():
                    return

    def _take_order(self) -> bool:
        order, descriptors, _, _ = socket.recv_fds(self._control, 1, _DESCRIPTORS_OF_AN_ORDER)
        try:
            if order:
                self._fill(descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return bool(order)

    def _fill(self, descriptors: list[int]) -> None:
        try:
            pid, pidfd = self._fork(descriptors)
        except OSError as error:
            self._say(Packet(protocol.REFUSED, number=error.errno or errno.EAGAIN))
            return
        self._say(Packet(protocol.STARTED, pid), pidfd)
        self._children[pidfd] = pid
        self._poll.register(pidfd, select.POLLIN)

    def _fork(self, descriptors: list[int]) -> tuple[int, int]:
        """A child's process number and pidfd. Raises OSError: there is no room for one more."""
        if len(descriptors) < _DESCRIPTORS_OF_AN_ORDER:  # the kernel drops what would be too many open files
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        upload, channel = descriptors
        own_pid = os.getpid()
        pid = os.fork()
        if not pid:
            not_its_own = (self._control.fileno(), *self._children)
            decode_and_end(Inheritance(upload, channel, not_its_own), self._limits, own_pid)
        try:
            return pid, os.pidfd_open(pid)
        except OSError:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise

    def _collect(self, pidfd: int) -> None:
        ended = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        pid = self._children.pop(pidfd)
        self._poll.unregister(pidfd)
        os.close(pidfd)
        if ended is not None:
            status = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
            self._say(Packet(protocol.ENDED, pid, status))

    def _say(self, packet: Packet, *descriptors: int) -> None:
        socket.send_fds(self._control, [packet.to_bytes()], descriptors)


def main(arguments: list[str]) -> None:
    descriptor, limits_json, parent_pid = arguments
    sandbox.die_with_parent(int(parent_pid))
    for number in _NOT_FOR_US:  # a terminal and systemd send them to every process; the worker says when it is over
        signal.signal(number, signal.SIG_IGN)
    limits = DecodeLimits.from_json(limits_json)
    _warm_up(limits)
    sandbox.enclose(limits)
    bytearray(_ROOM_BYTES)  # or it ends here, where it is the operator's memory limit and no caller's file
    gc.collect()
    gc.freeze()  # a collection in a child would otherwise write to, and so copy, every page that holds an object
    _Server(socket.socket(fileno=int(descriptor)), limits).serve()


def _warm_up(limits: DecodeLimits) -> None:
    """Decode a moment of silence, so that whatever loads late is loaded: a child can open nothing."""
    pcm = bytes(8_000)
    form = struct.pack("<HHIIHH", 1, 2, 8_000, 32_000, 4, 16)
    wav = b"RIFF" + struct.pack("<I", 36 + len(pcm)) + b"WAVEfmt " + struct.pack("<I", 16) + form
    outcome = media.decode(io.BytesIO(wav + b"data" + struct.pack("<I", len(pcm)) + pcm), limits, len, float)
    outcome.to_bytes()


if __name__ == "__main__":
    main(sys.argv[1:])
