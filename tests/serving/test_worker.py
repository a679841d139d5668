"""Gunicorn's worker class for one slot."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from asr_service.hardware.devices import Device, Slot
from asr_service.lifecycle import Die
from asr_service.serving.plan import SlotApp
from asr_service.serving.worker import SlotWorker
from asr_service.settings import Settings


class Created(Exception):
    """The application would be created now."""


def test_a_worker_names_its_device_as_asr_devices_does(tmp_path: Path):
    """Its process sees one GPU, which CUDA numbers 0; /health, logs and metrics still show the machine's number."""
    slot = Slot(1, Device("cuda", 1))
    seen: list[Slot] = []

    def app_factory(_settings: Settings, slot: Slot, _die: Die) -> SlotApp:
        seen.append(slot)
        raise Created

    worker = SlotWorker.__new__(SlotWorker)
    worker.slot = slot
    sockets = (tmp_path / "slot-0.sock", tmp_path / "slot-1.sock")
    plan = SimpleNamespace(listener=None, socket_paths=sockets, settings=Settings(), app_factory=app_factory)
    worker.app = SimpleNamespace(plan=plan)
    with pytest.raises(Created):
        worker.run()
    assert seen == [slot]
