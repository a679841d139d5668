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
    """Raised where the application would be created."""


def test_a_worker_gets_its_own_device_and_the_model_that_the_master_chose(tmp_path: Path):
    """Its process sees one GPU, which CUDA numbers 0; /health, logs and metrics still show the machine's number.

    The master replaces `auto` by a name, so that a restart cannot load another model.
    """
    slot = Slot(1, Device("cuda", 1))
    seen: list[tuple[Slot, str]] = []

    def app_factory(settings: Settings, slot: Slot, _die: Die) -> SlotApp:
        seen.append((slot, settings.model))
        raise Created

    worker = SlotWorker.__new__(SlotWorker)
    worker.slot = slot
    sockets = (tmp_path / "slot-0.sock", tmp_path / "slot-1.sock")
    plan = SimpleNamespace(
        listener=None, socket_paths=sockets, settings=Settings(), models=("base", "large-v3"), app_factory=app_factory
    )
    worker.app = SimpleNamespace(plan=plan)
    with pytest.raises(Created):
        worker.run()
    assert seen == [(slot, "large-v3")]
