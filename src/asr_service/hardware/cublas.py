"""cuBLAS, which CTranslate2 opens by name when a model first needs it.

The extra `cuda` installs it where the system's loader does not look. The loader finds a library by its name if the
process has opened it already, so it is opened here first, by path. This needs no GPU and makes no CUDA context.
"""

import ctypes
import importlib.util
from pathlib import Path
from typing import Final

_LIBRARIES: Final = ("libcublasLt.so.12", "libcublas.so.12")  # the second needs the first
_N_VERSION_PARTS: Final = 3


def load_cublas() -> str | None:
    """Open cuBLAS 12 for the whole process: the system's, else the extra's. Return its version; None if missing."""
    try:
        return _version(ctypes.CDLL(_LIBRARIES[-1]))
    except OSError:
        pass
    try:
        return _version([ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL) for path in _packaged()].pop())
    except (OSError, IndexError):
        return None


def _packaged() -> list[Path]:
    try:
        found = importlib.util.find_spec("nvidia.cublas")
    except ModuleNotFoundError:
        return []
    folders = found.submodule_search_locations if found is not None else None
    return [Path(folder) / "lib" / name for folder in folders or () for name in _LIBRARIES]


def _version(cublas: ctypes.CDLL) -> str:
    part = ctypes.c_int()
    numbers: list[str] = []
    for which in range(_N_VERSION_PARTS):
        cublas.cublasGetProperty(which, ctypes.byref(part))
        numbers.append(str(part.value))
    return ".".join(numbers)
