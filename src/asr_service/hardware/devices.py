"""Devices and slots.

GPUs are counted in the order of the bus, as CUDA counts them under CUDA_DEVICE_ORDER=PCI_BUS_ID, and only the visible
ones: under CUDA_VISIBLE_DEVICES=3,1 `cuda:0` is the machine's fourth GPU. A worker sees only its own GPU
(`device_environment`), which CUDA numbers 0 in that process; its `Device` keeps the number that ASR_DEVICES uses.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Device:
    """Where a model runs. `index` is None for the CPU."""

    kind: Literal["cpu", "cuda"]
    index: int | None = None

    @classmethod
    def named(cls, name: str) -> "Device":
        """Return the device that `str` names so: `cpu` or `cuda:N`."""
        kind, _, index = name.partition(":")
        return cls("cuda", int(index)) if kind == "cuda" else cls("cpu")

    def __str__(self) -> str:
        return self.kind if self.index is None else f"{self.kind}:{self.index}"


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for one worker process: its number, from 0, and its device."""

    index: int
    device: Device
