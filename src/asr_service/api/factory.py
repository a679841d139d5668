"""A slot's application, made while its model loads."""

from typing import TYPE_CHECKING

from asr_service.engine.model.loading import load_slot_model
from asr_service.engine.slot import ModelLoader, SlotEngine
from asr_service.hardware.devices import Slot
from asr_service.lifecycle import Die
from asr_service.settings import Settings

if TYPE_CHECKING:
    from asr_service.api.app import SlotApplication


def create_app(settings: Settings, slot: Slot, die: Die, *, load: ModelLoader = load_slot_model) -> "SlotApplication":
    """Make a slot's application. Until its model has loaded, requests are answered 503."""
    service = SlotEngine(settings, slot, load, die)
    service.begin_to_load()
    # The web framework takes as long to import as a small model to load, and they take a core each.
    from asr_service.api.app import SlotApplication  # noqa: PLC0415

    return SlotApplication(service)
