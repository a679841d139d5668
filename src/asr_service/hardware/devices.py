"""Which devices there are and which slots they make. NVML is asked, which makes no CUDA context: the master may.

Devices are counted by bus, as CUDA does under CUDA_DEVICE_ORDER=PCI_BUS_ID, and among the visible ones: under
CUDA_VISIBLE_DEVICES=3,1 `cuda:0` is the machine's fourth GPU. To CUDA, a worker that was narrowed to one GPU
(`device_environment`) has only `cuda:0`.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Device:
    """Where a model runs. `index` is None for the CPU."""

    kind: Literal["cpu", "cuda"]
    index: int | None = None

    def __str__(self) -> str:
        return self.kind if self.index is None else f"{self.kind}:{self.index}"


@dataclass(frozen=True, slots=True)
class Slot:
    """A worker process' place: its number from 0, and the device it has."""

    index: int
    device: Device


# -- NVML. Handles are opaque, and pynvml has no types.
