"""The walls around the decoder child: what it may not do once a stranger's bytes are in it.

The decoder server encloses itself, once, and its children inherit those walls. A child seals itself when it has its
file, before the first byte is read. Each wall that the kernel refuses is left out: the allow-list of containers stands
without them, and a laptop or a container may refuse several.
"""

import contextlib
import ctypes
import errno
import os
import platform
import resource
import signal
import struct
import tempfile
from pathlib import Path
from typing import Final

from asr_service.decoder.protocol import DecodeLimits

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_SECCOMP: Final = 22
_PR_SET_NO_NEW_PRIVS: Final = 38
_SECCOMP_MODE_FILTER: Final = 2
_CLONE_NEWUSER: Final = 0x1000_0000
_CLONE_NEWNET: Final = 0x4000_0000

_MAX_OPEN_FILES: Final = 16

# Numbers from the kernel's syscall tables, for what a single thread needs to read two descriptors, use memory, write
# one and end: no open, no socket, no connect, no exec, no fork, no thread, no signal, no ptrace, no truncate.
_ALLOWED: Final = {
    # name             x86_64 aarch64
    "read":            (0, 63),
    "write":           (1, 64),
    "close":           (3, 57),
    "fstat":           (5, 80),
    "lseek":           (8, 62),
    "mmap":            (9, 222),
    "mprotect":        (10, 226),
    "munmap":          (11, 215),
    "brk":             (12, 214),
    "rt_sigaction":    (13, 134),
    "rt_sigprocmask":  (14, 135),
    "rt_sigreturn":    (15, 139),
    "pread64":         (17, 67),
    "sched_yield":     (24, 124),
    "mremap":          (25, 216),
    "madvise":         (28, 233),
    "getpid":          (39, 172),
    "exit":            (60, 93),
    "sigaltstack":     (131, 132),
    "gettid":          (186, 178),
    "futex":           (202, 98),
    "sched_getaffinity": (204, 123),
    "restart_syscall": (219, 128),
    "clock_gettime":   (228, 113),
    "exit_group":      (231, 94),
    "getrandom":       (318, 278),
}  # fmt: skip
_ARCHES: Final = {"x86_64": (0, 0xC000_003E), "aarch64": (1, 0xC000_00B7)}  # column above, AUDIT_ARCH of linux/audit.h

# linux/bpf_common.h and linux/seccomp.h
_LOAD_WORD: Final = 0x20
_JUMP_EQUAL: Final = 0x15
_RETURN: Final = 0x06
_DATA_NR: Final = 0
_DATA_ARCH: Final = 4
_ALLOW: Final = 0x7FFF_0000
_FAIL_EPERM: Final = 0x0005_0000 | errno.EPERM

_ARCH: Final = platform.machine()

_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when the one that started it ends. Call first: a fork does not inherit it."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # it ended before the call
        os._exit(0)


def enclose(limits: DecodeLimits) -> None:
    """Everything that a fork inherits: nowhere to write, nobody to call, no more memory than allowed."""
    _leave_for_an_empty_directory()
    _be_the_first_to_go()
    _libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    _limit(resource.RLIMIT_AS, limits.memory_bytes)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)


def seal(cpu_s: int) -> None:
    """Give the file its processor time, then let nothing through but reading, computing and answering."""
    _limit(resource.RLIMIT_NOFILE, _MAX_OPEN_FILES)
    _limit(resource.RLIMIT_NPROC, 0)
    used_s = int(sum(os.times()[:2])) + 1
    _limit(resource.RLIMIT_CPU, used_s + cpu_s, grace=1)  # SIGXCPU, which tells why, comes before SIGKILL
    _filter_syscalls()


def _leave_for_an_empty_directory() -> None:
    """A removed directory is empty for good: nothing can be made in it, and nothing is left behind."""
    try:
        path = tempfile.mkdtemp(prefix="asr-decoder-")
    except OSError:
        os.chdir("/")
        return
    os.chdir(path)
    Path(path).rmdir()


def _be_the_first_to_go() -> None:
    """Where memory runs out the kernel ends a file that swells, and not the worker, which may be larger than each."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _limit(what: int, most: int, *, grace: int = 0) -> None:
    hard = resource.getrlimit(what)[1]
    hard = most + grace if hard == resource.RLIM_INFINITY else min(most + grace, hard)
    resource.setrlimit(what, (min(most, hard), hard))


class _Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _filter_syscalls() -> None:
    """A refused call fails with EPERM, which FFmpeg and Python can stand, rather than killing the process."""
    if _ARCH not in _ARCHES:
        return
    column, audit_arch = _ARCHES[_ARCH]
    program = _assemble(audit_arch, [numbers[column] for numbers in _ALLOWED.values()])
    fprog = _Program(len(program) // 8, program)
    _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(fprog), 0, 0)


def _assemble(audit_arch: int, allowed: list[int]) -> bytes:
    """A BPF program: another architecture or another number fails, a number in the list passes."""
    n = len(allowed)
    code = [
        _instruction(_LOAD_WORD, 0, 0, _DATA_ARCH),
        _instruction(_JUMP_EQUAL, 0, n + 1, audit_arch),
        _instruction(_LOAD_WORD, 0, 0, _DATA_NR),
    ]
    code += [_instruction(_JUMP_EQUAL, n - i, 0, number) for i, number in enumerate(allowed)]
    code += [_instruction(_RETURN, 0, 0, _FAIL_EPERM), _instruction(_RETURN, 0, 0, _ALLOW)]
    return b"".join(code)


def _instruction(code: int, jump_true: int, jump_false: int, operand: int) -> bytes:
    return struct.pack("=HBBI", code, jump_true, jump_false, operand)
