"""Loads a model and decodes windows in a process that a test can kill.

    python -m gpu.child once|forever MODEL_FOLDER DEVICE

Prints the tokens of the first call as a JSON line. With `forever`, decodes until the process is killed.
"""

import json
import sys

import numpy as np

from asr_service.engine.model.loading import load_slot_model
from asr_service.hardware.devices import Slot
from asr_service.hardware.spec import parse_devices
from asr_service.settings import load_settings
from gpu.decoding import transcribe


def main() -> None:
    mode, folder, device = sys.argv[1:]
    settings = load_settings({}, model=folder, devices=device, compute_type="float32")
    model = load_slot_model(settings, Slot(0, parse_devices(device)[0]), lambda: None)
    windows = list(np.random.default_rng(1).standard_normal((4, 80, 3000), dtype=np.float32))
    sys.stdout.write(json.dumps([list(each.tokens) for each in transcribe(model, windows)]) + "\n")
    sys.stdout.flush()
    while mode == "forever":
        transcribe(model, windows)


if __name__ == "__main__":
    main()
