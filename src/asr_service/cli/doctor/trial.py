"""A trial run of a slot's engine for `doctor`, in a process that may crash (`python -m ... cuda:0`).

Prints one line of JSON: how long the steps took, or why the run failed.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import NoReturn

from asr_service.cli.doctor.model import write_sound
from asr_service.engine.model.loading import load_slot_model
from asr_service.engine.options import DecodingOptions
from asr_service.engine.slot import SlotEngine
from asr_service.hardware.devices import Device, Slot
from asr_service.logs import configure_logs
from asr_service.settings import load_settings


def main(device: Device) -> None:
    configure_logs("error", "plain")
    engine = SlotEngine(load_settings(), Slot(0, device), load_slot_model, _die)
    print(json.dumps(asyncio.run(_run(engine))), flush=True)  # noqa: T201
    os._exit(0)  # the engine's threads may still be in a model call


async def _run(engine: SlotEngine) -> dict[str, object]:
    began = time.monotonic()
    await engine.start()
    await engine.wait_until_ready()  # if the slot fails, `_die` ends the process
    loaded = time.monotonic()
    await _transcribe(engine)
    return {
        "model": engine.loaded_model.facts.name,
        "load_s": loaded - began,
        "transcribe_s": time.monotonic() - loaded,
    }


async def _transcribe(engine: SlotEngine) -> None:
    # Without the voice filter and with one temperature, the model decodes the sound exactly once.
    options = DecodingOptions(language="en", temperature=0.01, vad_filter=False, max_new_tokens=64)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sound.flac"
        write_sound(path)
        with path.open("rb") as sound:
            async for _ in engine.transcriber.transcribe(sound, options):
                pass


def _die(exit_code: int, reason: str) -> NoReturn:
    print(json.dumps({"error": reason}), flush=True)  # noqa: T201
    os._exit(exit_code)


if __name__ == "__main__":
    main(Device.named(sys.argv[1]))
