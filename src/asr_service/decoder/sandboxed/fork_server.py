"""The fork server: one process per worker, with FFmpeg loaded, that forks a child for each file.

    python -I -m asr_service.decoder.sandboxed.fork_server CONTROL LIMITS PARENT

CONTROL is the descriptor of a socket; `decoder.protocol` describes its messages. LIMITS is DecodeLimits as JSON. PARENT
is the service's process id. Only `decoder.process` starts this program.

The fork server reads no file. It exists because a fork costs 1 ms, while a fresh interpreter that imports FFmpeg costs
at least 100 ms of processor time.
"""

import errno
import gc
import importlib
import io
import os
import pkgutil
import select
import signal
import socket
import struct
import sys
import traceback
from typing import Final

import av

from asr_service.decoder import protocol
from asr_service.decoder.protocol import DecodeLimits, Packet
from asr_service.decoder.recording.decode import decode
from asr_service.decoder.recording.output import Discarded
from asr_service.decoder.sandboxed import sandbox
from asr_service.decoder.sandboxed.child import InheritedFds, decode_and_exit

_MIN_FREE_BYTES: Final = 32 * 1024 * 1024
_FDS_PER_REQUEST: Final = 2
_REQUEST_BYTES: Final = len(protocol.FORK) + protocol.MAX_TRACK_BYTES
_NOT_LOADED: Final = frozenset({"av.__main__", "av.datasets"})  # a program, and downloads of test files
_IGNORED_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class _ForkServer:
    def __init__(self, control: socket.socket, limits: DecodeLimits) -> None:
        self._control = control
        self._limits = limits
        self._children: dict[int, int] = {}  # process ids by pidfd
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)

    def serve(self, restrictions: int) -> None:
        """Start children and reap them, until the service closes its end of the socket."""
        self._send(Packet(protocol.READY, number=restrictions))
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor in self._children:
                    self._reap(descriptor)
                elif not self._handle_request():
                    return

    def _handle_request(self) -> bool:
        """Answer one request. Returns False if the service has closed the socket."""
        request, descriptors, _, _ = socket.recv_fds(self._control, _REQUEST_BYTES, _FDS_PER_REQUEST)
        try:
            if request:
                self._start_child(descriptors, request.removeprefix(protocol.FORK).decode(errors="replace"))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return bool(request)

    def _start_child(self, descriptors: list[int], track: str) -> None:
        try:
            pid, pidfd = self._fork(descriptors, track)
        except OSError as error:
            self._send(Packet(protocol.FAILED, number=error.errno or errno.EAGAIN))
            return
        self._send(Packet(protocol.STARTED, pid), pidfd)
        self._children[pidfd] = pid
        self._poll.register(pidfd, select.POLLIN)

    def _fork(self, descriptors: list[int], track: str) -> tuple[int, int]:
        """Return a new child's process id and pidfd. Raises OSError: it cannot be started."""
        if len(descriptors) < _FDS_PER_REQUEST:  # the kernel drops descriptors beyond the limit of open files
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        upload, channel = descriptors
        own_pid = os.getpid()
        pid = os.fork()
        if not pid:
            to_close = (self._control.fileno(), *self._children)
            decode_and_exit(InheritedFds(upload, channel, to_close), track, self._limits, own_pid)
        try:
            return pid, os.pidfd_open(pid)
        except OSError:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise

    def _reap(self, pidfd: int) -> None:
        exited = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        pid = self._children.pop(pidfd)
        self._poll.unregister(pidfd)
        os.close(pidfd)
        if exited is not None:
            status = exited.si_status if exited.si_code == os.CLD_EXITED else -exited.si_status
            self._send(Packet(protocol.EXITED, pid, status))

    def _send(self, packet: Packet, *descriptors: int) -> None:
        socket.send_fds(self._control, [packet.to_bytes()], descriptors)


def main(arguments: list[str]) -> None:
    descriptor, limits_json, parent_pid = arguments
    sandbox.die_with_parent(int(parent_pid))
    for number in _IGNORED_SIGNALS:  # terminals and systemd send them to every process; the worker ends this one
        signal.signal(number, signal.SIG_IGN)
    limits = DecodeLimits.from_json(limits_json)
    load_everything(limits)
    sandbox.restrict_process(limits)
    restrictions = sandbox.held_restrictions(limits)
    bytearray(_MIN_FREE_BYTES)  # if the memory limit is too low, fail at start and not at a client's file
    gc.collect()
    gc.freeze()  # otherwise a collection in a child would write to, and so copy, every page that holds an object
    _ForkServer(socket.socket(fileno=int(descriptor)), limits).serve(restrictions)


def load_everything(limits: DecodeLimits) -> None:
    """Load everything that is loaded late, because a child cannot open files.

    PyAV imports the module of a stream type when a file has such a stream. Decoding a moment of silence loads the rest.
    """
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if module.name not in _NOT_LOADED:
            importlib.import_module(module.name)
    traceback.format_exception(ValueError())
    pcm = bytes(8_000)
    wav_format = struct.pack("<HHIIHH", 1, 2, 8_000, 32_000, 4, 16)
    wav = b"RIFF" + struct.pack("<I", 36 + len(pcm)) + b"WAVEfmt " + struct.pack("<I", 16) + wav_format
    outcome = decode(io.BytesIO(wav + b"data" + struct.pack("<I", len(pcm)) + pcm), limits, Discarded())
    outcome.to_bytes()


if __name__ == "__main__":
    main(sys.argv[1:])
