"""The restrictions of a decoder child, which hold before it reads the first untrusted byte.

The fork server restricts itself once (`restrict_process`), and its children inherit that. A child adds its own
restrictions when it has its file (`limit_resources`, `apply_seccomp`). A restriction that the kernel refuses is left
out, since laptops and containers refuse some of them; `held_restrictions` says which ones hold. The allow-list of
containers and codecs does not depend on the kernel.
"""

import contextlib
import ctypes
import errno
import mmap
import os
import platform
import resource
import signal
import socket
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from asr_service.decoder.protocol import RESTRICTIONS, DecodeLimits

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_SECCOMP: Final = 22
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_GET_NO_NEW_PRIVS: Final = 39
_SECCOMP_MODE_FILTER: Final = 2
_CLONE_NEWUSER: Final = 0x1000_0000
_CLONE_NEWNET: Final = 0x4000_0000

_MAX_OPEN_FILES: Final = 16
_NICENESS: Final = 10

# Numbers from the kernel's syscall tables. A single thread may read and write open descriptors, use memory and exit.
# Not allowed: open, socket, connect, exec, fork, threads, signals, ptrace, truncate.
_ALLOWED_SYSCALLS: Final = {
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
_ARCHES: Final = {
    "x86_64": (0, 0xC000_003E),
    "aarch64": (1, 0xC000_00B7),
}  # column above, AUDIT_ARCH (linux/audit.h)

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
    """Have the kernel kill this process when its parent ends. Forks do not inherit this: call it first in each."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # the parent ended before the call
        os._exit(0)


def restrict_process(limits: DecodeLimits) -> None:
    """Apply every restriction that forks inherit: no writable files, no network, limited memory."""
    _enter_empty_directory()
    _raise_oom_score()
    _yield_to_the_model()
    _libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    _limit(resource.RLIMIT_AS, limits.memory_bytes)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)


def limit_resources(cpu_s: int) -> None:
    """Allow this process `cpu_s` more seconds of processor time, few descriptors and no child processes."""
    _limit(resource.RLIMIT_NOFILE, _MAX_OPEN_FILES)
    _limit(resource.RLIMIT_NPROC, 0)
    used_s = int(sum(os.times()[:2])) + 1
    _limit(resource.RLIMIT_CPU, used_s + cpu_s, grace=1)  # SIGXCPU, which shows the reason, comes before SIGKILL


def apply_seccomp() -> None:
    """Allow only the system calls in `_ALLOWED_SYSCALLS`.

    A refused call fails with EPERM instead of killing the process, because FFmpeg and Python can handle that error.
    Does nothing on other architectures than x86_64 and aarch64.
    """
    if _ARCH not in _ARCHES:
        return
    column, audit_arch = _ARCHES[_ARCH]
    program = _assemble(audit_arch, [numbers[column] for numbers in _ALLOWED_SYSCALLS.values()])
    fprog = _Program(len(program) // 8, program)
    _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(fprog), 0, 0)


def held_restrictions(limits: DecodeLimits) -> int:
    """Return which of `protocol.RESTRICTIONS` hold in a child of this process, as bits.

    A child tries what it must not do, because a kernel or a container may accept a restriction and not apply it.
    """
    pid = os.fork()
    if not pid:
        try:
            os._exit(_attempt_everything(limits))
        finally:
            os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return max(status, 0)


def _attempt_everything(limits: DecodeLimits) -> int:
    limit_resources(1)
    held = {
        "writing": resource.getrlimit(resource.RLIMIT_FSIZE)[0] == 0,
        "processor_time": resource.getrlimit(resource.RLIMIT_CPU)[0] != resource.RLIM_INFINITY,
        "privileges": _libc.prctl(_PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1,
    }
    apply_seccomp()
    held["files"] = _is_refused(lambda: os.close(os.open("/", os.O_RDONLY)))
    held["network"] = _is_refused(lambda: socket.socket().close())
    held["processes"] = _is_refused(_fork_and_exit)
    held["memory"] = _is_refused(lambda: mmap.mmap(-1, limits.memory_bytes + 1).close())
    return sum(held[name] << i for i, name in enumerate(RESTRICTIONS))


def _is_refused(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except (OSError, MemoryError):
        return True
    return False


def _fork_and_exit() -> None:
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)


def _yield_to_the_model() -> None:
    """Let the model's threads have the processor first, and do not interrupt them when data arrives."""
    with contextlib.suppress(OSError):  # a service manager may forbid the calls
        os.nice(_NICENESS)
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _enter_empty_directory() -> None:
    """Make a removed directory the working directory. Nothing can be created in it, and nothing is left behind."""
    try:
        path = tempfile.mkdtemp(prefix="asr-decoder-")
    except OSError:
        os.chdir("/")
        return
    os.chdir(path)
    Path(path).rmdir()


def _raise_oom_score() -> None:
    """Let the kernel kill decoder processes first when memory runs out, and not the worker, which may be larger."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _limit(kind: int, soft: int, *, grace: int = 0) -> None:
    hard = resource.getrlimit(kind)[1]
    hard = soft + grace if hard == resource.RLIM_INFINITY else min(soft + grace, hard)
    resource.setrlimit(kind, (min(soft, hard), hard))


class _Program(ctypes.Structure):
    """The kernel's struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _assemble(audit_arch: int, allowed: list[int]) -> bytes:
    """Return a BPF program that passes the allowed numbers on this architecture and refuses every other call."""
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
