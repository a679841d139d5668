"""Serves a fake model on two fake GPUs, with settings from the environment: `python -m deploy.launcher LIMITS`."""

import json
import sys

import pytest

from asr_service.hardware.devices import Slot
from asr_service.serving import Die, ServerLimits, SlotApp, serve
from asr_service.settings import Settings, load_settings
from hardware import fake_nvml


def create_app(settings: Settings, slot: Slot, die: Die) -> SlotApp:
    from asr_service.api import factory  # in the worker, like the engine below it
    from deploy.asked_model import asked_model

    return factory.create_app(settings, slot, die, load=lambda *_: asked_model())


if __name__ == "__main__":
    fake_nvml.install(pytest.MonkeyPatch(), [fake_nvml.FakeGpu("GPU-a"), fake_nvml.FakeGpu("GPU-b")])
    sys.exit(serve(load_settings(), app_factory=create_app, limits=ServerLimits(**json.loads(sys.argv[1]))))
