"""Creates the application of a slot while its model loads."""

from typing import TYPE_CHECKING

from asr_service.engine.model.loading import load_slot_model
from asr_service.engine.slot import ModelLoader, SlotEngine
from asr_service.hardware.devices import Slot
from asr_service.jobs.times import RunnerTimes
from asr_service.lifecycle import Die
from asr_service.results.times import ResultTimes
from asr_service.settings import Settings

if TYPE_CHECKING:
    from asr_service.api.app import SlotApplication


def create_app(
    settings: Settings,
    slot: Slot,
    die: Die,
    *,
    load: ModelLoader = load_slot_model,
    job_times: RunnerTimes = RunnerTimes(),  # noqa: B008 - frozen
    result_times: ResultTimes = ResultTimes(),  # noqa: B008 - frozen
) -> "SlotApplication":
    """Create the application of a slot and begin to load its model. Until it is loaded, requests get a 503.

    Raises ConfigurationError: a setting is wrong.
    """
    engine = SlotEngine(settings, slot, load, die)
    engine.begin_to_load()
    # Importing the web framework takes as long as loading a small model; both run in parallel on a core each.
    from asr_service.api.app import SlotApplication  # noqa: PLC0415

    return SlotApplication(engine, job_times, result_times)
