"""Reads what CTranslate2 supports on a device, for `doctor`, in a process that may crash (`python -m ... cuda:0`).

Prints one line of JSON: a `DeviceSupport`.
"""

import json
import sys
from dataclasses import asdict

from asr_service.engine.model.support import read_support
from asr_service.hardware.devices import Device

if __name__ == "__main__":
    print(json.dumps(asdict(read_support(Device.named(sys.argv[1])))))  # noqa: T201
