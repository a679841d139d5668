"""The devices of the tests."""

from asr_service.hardware.devices import Device

CPU, GPU = Device("cpu"), Device("cuda", 0)
