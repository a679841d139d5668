"""Measure the engine without HTTP, and the engine's model calls without the engine.

    python -m benchmarks.load.engine --model FOLDER --concurrency 16 a.flac b.flac ...

Prints one JSON object: recordings per second through `Transcriber` in this process, and recordings per second when the
recorded model calls are repeated back to back on the same number of threads. The differences are the cost of HTTP and
of the engine.
"""

import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any, cast

from asr_service.engine.model.loading import load_slot_model
from asr_service.engine.model.protocol import SpeechModel
from asr_service.engine.options import DecodingOptions
from asr_service.engine.slot import SlotEngine
from asr_service.hardware.devices import Slot
from asr_service.hardware.spec import parse_devices
from asr_service.settings import Settings, load_settings
from asr_service.transcript import Transcript
from benchmarks.common import arguments
from benchmarks.common.threads import run_on_threads

_START_S = 300.0

ModelCall = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class EngineSpeed:
    n: int
    engine_per_s: float
    model_calls_per_s: float
    n_calls: int
    threads: int


@dataclass
class Recorder:
    """Wraps a model and records every call with its arguments."""

    model: SpeechModel
    calls: list[ModelCall] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.model, name)
        return partial(self._call, found) if callable(found) else found

    def _call(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.calls.append(partial(method, *args, **kwargs))
        return method(*args, **kwargs)


async def measure(settings: Settings, files: Sequence[Path], concurrency: int) -> EngineSpeed:
    """Transcribe the files, `concurrency` at a time, after a warm-up with as many recordings."""
    recorders: list[Recorder] = []

    def load(settings: Settings, slot: Slot, on_files: Callable[[], None]) -> SpeechModel:
        recorders.append(Recorder(load_slot_model(settings, slot, on_files)))
        return cast("SpeechModel", recorders[0])

    service = SlotEngine(settings, Slot(0, parse_devices(settings.devices)[0]), load, _die)
    await service.start()
    async with asyncio.timeout(_START_S):
        await service.wait_until_ready()
    recorder = recorders[0]
    await _transcribe_all(service, list(islice(cycle(files), concurrency)), concurrency)
    recorder.calls.clear()
    engine_s = await _transcribe_all(service, files, concurrency)
    calls, threads = list(recorder.calls), service.loaded_model.facts.threads
    model_s = await asyncio.to_thread(replay, calls, threads)
    await service.close()
    return EngineSpeed(len(files), len(files) / engine_s, len(files) / model_s, len(calls), threads)


def replay(calls: Sequence[ModelCall], n_threads: int) -> float:
    """Repeat the calls in order on `n_threads` threads, and return the elapsed seconds."""
    waiting, lock = iter(calls), threading.Lock()

    def work() -> None:
        while (call := _next(waiting, lock)) is not None:
            call()

    return run_on_threads(work, n_threads)


def _next(waiting: Iterator[ModelCall], lock: threading.Lock) -> ModelCall | None:
    with lock:
        return next(waiting, None)


async def _transcribe_all(service: SlotEngine, files: Sequence[Path], concurrency: int) -> float:
    waiting = iter(files)

    async def transcribe_in_turn() -> None:
        for path in waiting:
            await _transcribe(service, path)

    began = time.perf_counter()
    await asyncio.gather(*(transcribe_in_turn() for _ in range(concurrency)))
    return time.perf_counter() - began


async def _transcribe(service: SlotEngine, path: Path) -> Transcript:
    with path.open("rb") as file:
        async for event in service.transcriber.transcribe(file, DecodingOptions(beam_size=service.settings.beam_size)):
            if isinstance(event, Transcript):
                return event
    raise AssertionError("The events of a recording ended without a transcript.")


def _die(code: int, reason: str) -> Any:
    print(reason, file=sys.stderr)
    sys.exit(code)


def main() -> None:
    parser = arguments.plain_parser(__doc__)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--model", required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compute-type", default="int8")
    parser.add_argument("--concurrency", type=int, default=16)
    args = parser.parse_args()
    settings = load_settings(model=args.model, devices=args.device, compute_type=args.compute_type)
    print(json.dumps(asdict(asyncio.run(measure(settings, args.files, args.concurrency)))))


if __name__ == "__main__":
    main()
