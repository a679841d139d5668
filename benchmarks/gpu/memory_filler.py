"""Fill a GPU's memory from another process, to provoke out-of-memory errors.

    python -m benchmarks.gpu.memory_filler cuda:0 2000

Allocates memory until at most 2000 MiB are free, prints a line, and keeps the memory until standard input is closed. It
calls the CUDA driver, because allocation alone takes no time; CTranslate2 would copy data to the GPU.
"""

import ctypes
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.common.arguments import plain_parser
from benchmarks.gpu.usage import memory_free

_PIECE_SIZES = (2**30, 64 * 2**20, 8 * 2**20)


@contextmanager
def filled(device: str, free_mib: int) -> Iterator[None]:
    """Hold all memory of the GPU except `free_mib` for the duration of the block.

    Raises RuntimeError: when the process that allocates the memory fails.
    """
    command = [sys.executable, "-m", "benchmarks.gpu.memory_filler", device, str(free_mib)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            if not process.stdout.readline():
                raise RuntimeError(f"The process that fills the memory of {device} failed. See its error message.")
            yield
        finally:
            process.kill()


def main() -> None:
    parser = plain_parser(__doc__)
    parser.add_argument("device", help="such as cuda:0")
    parser.add_argument("free_mib", type=int, help="MiB to leave free")
    args = parser.parse_args()
    driver = ctypes.CDLL("libcuda.so.1")
    _use_device(driver, int(args.device.rpartition(":")[2] or 0))
    n_bytes = 0
    for size in _PIECE_SIZES:
        while memory_free(args.device) > args.free_mib * 2**20 + size and _allocate(driver, size):
            n_bytes += size
    print(f"{n_bytes / 2**20:.0f} MiB allocated", flush=True)
    sys.stdin.read()


def _use_device(driver: ctypes.CDLL, index: int) -> None:
    """Make the device's primary context current. Raises RuntimeError: when the driver refuses."""
    device, context = ctypes.c_int(), ctypes.c_void_p()
    for name, code in (
        ("cuInit", driver.cuInit(0)),
        ("cuDeviceGet", driver.cuDeviceGet(ctypes.byref(device), index)),
        ("cuDevicePrimaryCtxRetain", driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)),
        ("cuCtxSetCurrent", driver.cuCtxSetCurrent(context)),
    ):
        if code:
            raise RuntimeError(f"{name} failed with error {code}.")


def _allocate(driver: ctypes.CDLL, size: int) -> bool:
    """Allocate memory that is never freed. Returns False if there is not enough."""
    return int(driver.cuMemAlloc_v2(ctypes.byref(ctypes.c_uint64()), ctypes.c_size_t(size))) == 0


if __name__ == "__main__":
    main()
