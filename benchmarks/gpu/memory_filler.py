"""Fill a GPU's memory from another process, to provoke out-of-memory errors.

    python -m benchmarks.gpu.memory_filler cuda:0 2000

Allocates until only about 2000 MiB are free, prints a line, and keeps the memory until standard input is closed.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import ctranslate2
import numpy as np
import pynvml

_PIECE_BYTES = 64 * 2**20


@contextmanager
def filled(device: str, free_mib: int) -> Iterator[None]:
    """Hold all memory of the GPU except `free_mib` for the duration of the block.

    Raises RuntimeError: when the filler fails.
    """
    command = [sys.executable, "-m", "benchmarks.gpu.memory_filler", device, str(free_mib)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            if not process.stdout.readline():
                raise RuntimeError(f"The process that fills the memory of {device} failed. Its error is above.")
            yield
        finally:
            process.kill()


def main() -> None:
    device, free_mib = sys.argv[1], int(sys.argv[2])
    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(int(device.rpartition(":")[2] or 0))
    held, piece = [], np.zeros(_PIECE_BYTES // 4, np.float32)
    while pynvml.nvmlDeviceGetMemoryInfo(handle).free > free_mib * 2**20 + _PIECE_BYTES:
        held.append(ctranslate2.StorageView.from_array(piece).to_device(ctranslate2.Device.cuda))
    print(f"{len(held)} pieces of 64 MiB", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
