"""Measure what the simulator needs to know about a machine: model calls by length and number of windows.

    python -m benchmarks.simulation.measure costs --audio FOLDER     # a minute on a quiet machine
    python -m benchmarks.simulation.measure record --audio FOLDER    # two minutes

Writes results/sim-costs.json and results/sim-recorded.json.

`costs` calls the real model with windows of real speech, first alone and then on all threads at once. `record` sends
three loads to the real service and keeps the arrivals and latencies of its log, which the simulator is compared with.
"""

import asyncio
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from asr_service.audio.features import LogMel
from asr_service.engine.build import CPU_COALESCE_WAIT_S
from asr_service.engine.decode.context import context_frames
from asr_service.engine.model.loading import load_slot_model
from asr_service.engine.model.prompt import generate_options
from asr_service.engine.model.protocol import Encoding, SpeechModel
from asr_service.engine.model.stages import Stage
from asr_service.engine.model.vocabulary import Vocabulary
from asr_service.engine.options import DecodingOptions
from asr_service.hardware.devices import Slot
from asr_service.hardware.spec import parse_devices
from asr_service.settings import load_settings
from benchmarks.common import arguments
from benchmarks.common.client import closed_loop, open_loop
from benchmarks.common.corpus import Clip
from benchmarks.common.machine import Watch, machine
from benchmarks.common.material import RATE, joined, material, recordings
from benchmarks.common.models import model_folder
from benchmarks.common.report import RESULTS
from benchmarks.common.servers import SERVICE, ServerConfig, exit_on_sigterm, running
from benchmarks.common.threads import run_on_threads
from benchmarks.simulation.arrivals import write_recording
from benchmarks.simulation.costs import Cost, Costs

_LENGTHS_S = (4.0, 8.0, 11.0, 16.0, 22.0, 29.0)
_N_WINDOWS = 6
_BATCHES = (1, 2, 4)
_LONG_S = 1800.0
_PROBE_EVERY_S = 3.0
_OPEN_RATE, _OPEN_S = 2.5, 40.0


@dataclass(frozen=True, slots=True)
class _Bench:
    model: SpeechModel
    vocabulary: Vocabulary
    log_mel: LogMel
    options: DecodingOptions
    margin_s: float

    def window(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute features at the context that the service uses for speech of this length."""
        return self.log_mel(samples, context_frames(len(samples) / RATE, self.margin_s))

    def generate(self, encodings: Sequence[Encoding]) -> None:
        prompt = self.vocabulary.prompt(self.options, "en", ())
        options = generate_options(self.options, prompt, 0.0, self.vocabulary.suppressed)
        self.model.generate(encodings, [prompt.tokens] * len(encodings), options)


def measure_costs(audio: Path | None, model: str) -> Costs:
    settings = load_settings(model=str(model_folder(model)), devices="cpu", compute_type="int8")
    loaded = load_slot_model(settings, Slot(0, parse_devices("cpu")[0]), lambda: None)
    facts = loaded.facts
    vocabulary = Vocabulary(loaded.tokenizer, multilingual=facts.multilingual)
    bench = _Bench(loaded, vocabulary, LogMel(facts.n_mels), DecodingOptions(language="en"), settings.encoder_margin_s)
    watch, speech = Watch.start(), _speech(audio)
    calls: list[Cost] = []
    spread: list[float] = []
    crowding: list[float] = []
    for seconds in _LENGTHS_S:
        windows = [bench.window(samples) for samples in itertools.islice(_cut(speech, seconds), _N_WINDOWS)]
        frames = windows[0].shape[1]
        encodings = [bench.model.encode([window])[0] for window in windows]
        for stage, n, works in _works(bench, windows, encodings):
            alone = [_timed(work) for work in works]
            calls.append(Cost(stage, frames, n, statistics.fmean(alone)))
            crowding.append(statistics.fmean(_concurrent_seconds(works, facts.threads)) / statistics.fmean(alone))
            if stage is Stage.GENERATE and n == 1:
                spread += [each / statistics.fmean(alone) for each in alone]
    return Costs(
        source=f"measured, {machine()['machine']}, Whisper {model} int8, beam 5; others took "
        f"{watch.others_cores():.2f} cores meanwhile",
        on_gpu=False,
        threads=facts.threads,
        cores=facts.threads,
        calls=tuple(calls),
        crowding=round(statistics.median(crowding), 3),
        spread=tuple(round(each, 3) for each in sorted(spread)),
        before_fixed_s=0.05,
        before_per_audio_s=0.0055,
        hop_s=0.002,
        coalesce_wait_s=CPU_COALESCE_WAIT_S,
        redone=0.03,
        load_s=3.0,
    )


def _works(
    bench: _Bench, windows: Sequence[NDArray[np.float32]], encodings: Sequence[Encoding]
) -> Iterator[tuple[Stage, int, list[Callable[[], object]]]]:
    """Yield each stage with each batch size, and its calls: every window once."""
    yield Stage.ENCODE, 1, [partial(bench.model.encode, [each]) for each in windows]
    for n in _BATCHES:
        groups = [[encodings[(at + k) % len(encodings)] for k in range(n)] for at in range(0, len(encodings), n)]
        yield Stage.GENERATE, n, [partial(bench.generate, each) for each in groups]


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _concurrent_seconds(works: Sequence[Callable[[], object]], n_threads: int) -> list[float]:
    """Run the calls on `n_threads` threads at once, and return the seconds of each call."""
    seconds: list[float] = []

    def run() -> None:
        seconds.extend([_timed(work) for work in works])

    run_on_threads(run, n_threads)
    return seconds


def _speech(audio: Path | None) -> NDArray[np.float32]:
    clips = material(recordings(audio), 1).joinable
    with tempfile.TemporaryDirectory(prefix="asr-sim-") as folder:
        clip = joined(clips, sum(_LENGTHS_S) * _N_WINDOWS + 1, Path(folder) / "speech.flac")
        return np.asarray(soundfile.read(clip.path, dtype="float32")[0], np.float32)


def _cut(speech: NDArray[np.float32], seconds: float) -> Iterator[NDArray[np.float32]]:
    size = int(seconds * RATE)
    return (speech[at : at + size] for at in itertools.count(0, size))


async def _play(url: str, clips: Sequence[Clip], short: Clip, hour: Clip) -> None:
    """Send short clips alone, then short clips during a long file, then clips of all lengths at random times."""
    await closed_loop(url, [short] * 8, 1)
    long_running = asyncio.create_task(closed_loop(url, [hour], 1))
    while not long_running.done():
        due = time.perf_counter() + _PROBE_EVERY_S
        await closed_loop(url, [short], 1)
        await asyncio.sleep(due - time.perf_counter())
    await long_running
    await open_loop(url, clips, _OPEN_RATE, _OPEN_S)


def record(audio: Path | None, model: str, out: Path) -> None:
    clips = material(recordings(audio), 20)
    watch = Watch.start()
    with tempfile.TemporaryDirectory(prefix="asr-sim-") as folder:
        hour = joined(clips.joinable, _LONG_S, Path(folder) / "hour.flac")
        log_settings = {"ASR_LOG_LEVEL": "info", "ASR_LOG_FORMAT": "json"}
        config = ServerConfig(model_folder(model), "int8", Path(folder), settings=log_settings)
        with running(SERVICE, config) as server:
            asyncio.run(closed_loop(server.url, [clips.short] * 4, 2))
            time.sleep(1)
            skip = len(server.log.read_text().splitlines())
            asyncio.run(_play(server.url, clips.joinable, clips.short, hour))
            lines = server.log.read_text().splitlines()[skip:]
    write_recording(lines, f"{machine()['machine']}; others took {watch.others_cores():.2f} cores", out)


def main() -> None:
    exit_on_sigterm()
    parser = arguments.parser(__doc__)
    parser.add_argument("what", choices=["costs", "record"])
    parser.add_argument("--out", type=Path, help="path of the JSON file (default: in benchmarks/results)")
    args = parser.parse_args()
    if args.what == "costs":
        costs = measure_costs(args.audio, args.model)
        path = args.out or RESULTS / "sim-costs.json"
        path.write_text(json.dumps(costs.to_json(), indent=1) + "\n", encoding="utf-8")
        print(costs.source)
    else:
        record(args.audio, args.model, args.out or RESULTS / "sim-recorded.json")


if __name__ == "__main__":
    main()
