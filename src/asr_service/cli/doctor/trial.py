"""A slot's engine brought up for `doctor`, in a process that may die of it (`python -m ... cuda:0`).

Prints one line of JSON: what it took, or why it failed.
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
    service = SlotEngine(load_settings(), Slot(0, device), load_slot_model, _die)
    print(json.dumps(asyncio.run(_trial(service))), flush=True)  # noqa: T201
    os._exit(0)  # its threads may be in the middle of a call of the model


async def _trial(service: SlotEngine) -> dict[str, object]:
    began = time.monotonic()
    await service.start()
    await service.wait_until_ready()  # if the slot fails, `_die` ends the process
    loaded = time.monotonic()
    await _transcribe(service)
    return {
        "model": service.loaded_model.facts.name,
        "load_s": loaded - began,
        "transcribe_s": time.monotonic() - loaded,
    }


async def _transcribe(service: SlotEngine) -> None:
    # With the voice filter off and one temperature, so that the model works, once, on sound that has no words.
    options = DecodingOptions(language="en", temperature=0.01, vad_filter=False, max_new_tokens=64)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sound.flac"
        write_sound(path)
        with path.open("rb") as sound:
            async for _ in service.transcriber.transcribe(sound, options):
                pass


def _die(exit_code: int, reason: str) -> NoReturn:
    print(json.dumps({"failed": reason}), flush=True)  # noqa: T201
    os._exit(exit_code)


if __name__ == "__main__":
    kind, _, index = sys.argv[1].partition(":")
    main(Device("cuda", int(index)) if kind == "cuda" else Device("cpu"))
