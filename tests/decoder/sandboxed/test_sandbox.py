"""The restrictions, tested from inside a process that is restricted like a decoder child."""

import json
import os
import platform
import select
import subprocess
import sys

import pytest

from asr_service.decoder.protocol import DecodeLimits
from decoder import media

INSIDE = """
import ctypes, json, mmap, os, resource, socket, subprocess, sys, threading
from asr_service.decoder.protocol import DecodeLimits
from asr_service.decoder.sandboxed import sandbox

secret, limits, out = sys.argv[1], DecodeLimits.from_json(sys.argv[2]), 1
own = os.open(secret, os.O_RDWR)

libc, parent = ctypes.CDLL(None), os.getppid()

def signal_by_thread():
    if libc.tgkill(parent, parent, 0):
        raise PermissionError

def start_a_thread():
    threading.Thread(target=int).start()

attempts = {
    "read another file": lambda: os.open(secret, os.O_RDONLY),
    "write a file": lambda: os.write(own, b"x" * 100),
    "shorten a file": lambda: os.ftruncate(own, 0),
    "make a file": lambda: os.open("x", os.O_CREAT | os.O_WRONLY),
    "open a socket": lambda: socket.socket(),
    "start a process": lambda: os.fork(),
    "run a program": lambda: os.execv("/bin/true", ["true"]),
    "start a thread": start_a_thread,
    "lift a limit": lambda: resource.setrlimit(resource.RLIMIT_AS, (-1, -1)),
    "signal a process": lambda: os.kill(parent, 0),
    "signal a thread": signal_by_thread,
    "take more memory": lambda: mmap.mmap(-1, 2 * limits.memory_bytes),
}
sandbox.restrict_process(limits)
entries = os.listdir(".")
sandbox.limit_resources(limits.cpu_s(0))
sandbox.apply_seccomp()
results = {}
for name, attempt in attempts.items():
    try:
        attempt()
        results[name] = "done"
    except BaseException as error:
        results[name] = type(error).__name__
os.write(out, json.dumps([entries, results]).encode())
os._exit(0)
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="no seccomp filter here")
def test_a_restricted_process_can_only_read_compute_and_answer(tmp_path):
    """It gets no file, socket, process, thread or further memory, but it can still use its own descriptors."""
    secret = tmp_path / "secret"
    secret.write_text("unread")
    limits = DecodeLimits(max_audio_s=60).to_json()
    done = subprocess.run(
        [sys.executable, "-I", "-c", INSIDE, str(secret), limits], capture_output=True, check=True, timeout=60
    )
    entries, results = json.loads(done.stdout)
    assert entries == []
    assert [name for name, result in results.items() if result == "done"] == []
    assert secret.read_text() == "unread"


WORKER = """
import asyncio, os, signal, sys
from asr_service.decoder.pool import DecodeLimits, DecoderPool

async def main():
    pool = DecoderPool(DecodeLimits(max_audio_s=3600))
    await pool.start()
    with open(sys.argv[1], "rb") as file:
        async with pool.decode(file) as audio:
            await audio.read(100)
            fork_server, child = pool._process.pid, audio._child.pid
            print(fork_server, child, flush=True)
            for pid in (fork_server, child)[: int(sys.argv[3])]:
                os.kill(pid, signal.SIGSTOP)  # a stopped process does not see its channel close
            os.kill({"worker": os.getpid(), "fork server": fork_server}[sys.argv[2]], signal.SIGKILL)
            await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.parametrize("n_stopped", [0, 1, 2])
@pytest.mark.parametrize("killed", ["worker", "fork server"])
def test_a_child_ends_with_the_fork_server_and_both_with_the_worker(killed, n_stopped, tmp_path):
    """The kernel kills the decoder processes when their parent is killed, even if they are stopped."""
    recording = tmp_path / "a.wav"
    recording.write_bytes(media.wav(media.warble(120)))
    command = [sys.executable, "-c", WORKER, str(recording), killed, str(n_stopped)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        pids = [int(pid) for pid in worker.stdout.readline().split()]
        try:
            assert len(pids) == 2
            for pid in pids:
                wait_until_ended(pid)
        finally:
            worker.kill()


def wait_until_ended(pid: int) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    with os.fdopen(descriptor, "rb") as end:
        assert select.select([end], [], [], 20)[0]
