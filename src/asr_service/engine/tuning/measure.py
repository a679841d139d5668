"""Measure how fast a model is, by threads and by windows in a call, and choose among what was measured.

The sound is synthetic, because no recording is available. A model writes little for it, so each window is decoded to a
fixed number of tokens, about as many as speech of its length has: the end-of-text token is suppressed.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from threading import Barrier
from typing import Final

from asr_service.audio.features import FULL_CONTEXT, LogMel
from asr_service.audio.synthetic import synthetic_sound
from asr_service.engine.decode.context import context_frames
from asr_service.engine.model.loading import model_threads
from asr_service.engine.model.prompt import generate_options
from asr_service.engine.model.protocol import SpeechModel
from asr_service.engine.model.stages import Stage
from asr_service.engine.model.vocabulary import Vocabulary
from asr_service.engine.options import DecodingOptions
from asr_service.engine.schedule.batch import BatchLimit
from asr_service.engine.sizing import GpuMemory, batch_limits, encoder_margin_s
from asr_service.engine.tuning.choice import (
    MAX_CALL_S,
    Measurement,
    Measurements,
    Parallelism,
    Workload,
    choose,
)
from asr_service.hardware.devices import Device
from asr_service.settings import Settings

_CLIP_S: Final = 11.0
_WINDOW_S: Final = 30.0
_TOKENS_PER_SECOND: Final = 3.0
_MAX_CPU_THREADS: Final = 16
_MAX_GPU_THREADS: Final = 4
_CPU_BATCHES: Final = (1, 2, 4, 8)
_GPU_BATCHES: Final = (1, 2, 4, 8, 16, 32)
_MIN_TIME_S: Final = 0.6
_MIN_ROUNDS: Final = 2
_SLOW_ROUND_S: Final = 3.0
"""A round that takes longer is not repeated."""
_MUCH_SLOWER: Final = 0.8
"""If a batch reaches less than this share of a smaller batch's speed, larger ones are not tried."""


@dataclass(frozen=True, slots=True)
class TuningResult:
    """The outcome of a run."""

    default: Parallelism
    chosen: Parallelism
    gain: float
    """Speed of the chosen parallelism divided by the default's, both measured again in turn."""
    workloads: tuple[Workload, ...]
    measurements: Measurements


def default_threads(settings: Settings, device: Device) -> int:
    """Return the number of model threads that the service uses if ASR_MODEL_THREADS is not set."""
    return model_threads(_untuned(settings), device)


def default_parallelism(settings: Settings, device: Device, memory: GpuMemory | None = None) -> Parallelism:
    """Return what the service uses if none of the three settings is set. `memory` is that of the GPU, if known."""
    limits = batch_limits(_untuned(settings), on_gpu=device.kind == "cuda", memory=memory)
    return Parallelism(default_threads(settings, device), limits[Stage.ENCODE], limits[Stage.GENERATE])


def thread_counts(default: int, device: Device, n_cpu_slots: int = 1) -> tuple[int, ...]:
    """Return the numbers of threads to try: powers of two, the default number and, on a CPU, its number of cores.

    Several CPU slots share the cores; the numbers are for one of them. A GPU is tried with 1, 2 and 4 threads.
    """
    most = _MAX_GPU_THREADS
    if device.kind == "cpu":
        cores = len(os.sched_getaffinity(0)) // max(n_cpu_slots, 1)
        most = max(default, min(cores, _MAX_CPU_THREADS))
    powers = (2**power for power in range(most.bit_length()))
    return tuple(sorted({*powers, default} | ({most} if device.kind == "cpu" else set())))


def workloads_for(settings: Settings, device: Device) -> tuple[Workload, ...]:
    """Return the workloads to measure: a clip of 11 s in its encoder context, and a full window."""
    margin_s = encoder_margin_s(settings, on_gpu=device.kind == "cuda")
    return (
        Workload("clip of 11 s", context_frames(_CLIP_S, margin_s), round(_CLIP_S * _TOKENS_PER_SECOND)),
        Workload("window of 30 s", FULL_CONTEXT, round(_WINDOW_S * _TOKENS_PER_SECOND)),
    )


class Tuner:
    """Measures a model: first numbers of threads with the default batches, then batches with the best threads."""

    def __init__(
        self,
        model: SpeechModel,
        default: Parallelism,
        workloads: Sequence[Workload],
        beam_size: int,
        on_measurement: Callable[[Measurement], None] = lambda _: None,
        min_time_s: float = _MIN_TIME_S,
    ) -> None:
        """Prepare to measure `model`.

        `on_measurement` is called with each measurement as it is made.
        Each case is repeated for `min_time_s`, and at least twice.
        """
        self._model, self._default, self._workloads = model, default, tuple(workloads)
        self._options = DecodingOptions(language="en", timestamps=False, beam_size=beam_size)
        self._vocabulary = Vocabulary(model.tokenizer, multilingual=model.facts.multilingual)
        self._on_measurement = on_measurement
        self._min_time_s = min_time_s
        log_mel, sound = LogMel(model.facts.n_mels), synthetic_sound(_WINDOW_S)
        self._features = {workload: log_mel(sound, workload.n_frames) for workload in self._workloads}
        self._made: list[Measurement] = []

    def tune(self, threads: Iterable[int]) -> TuningResult:
        """Measure with each number of threads, and choose.

        Raises RuntimeError: the device cannot run even the default.
        """
        default = self._default
        self._call(Stage.ENCODE, self._workloads[0], 1)()  # the first call allocates memory, and is not counted
        tried = [default, *(replace(default, threads=number) for number in threads if number != default.threads)]
        self._measure_all(default)
        for parallelism in tried[1:]:
            with suppress(RuntimeError):  # not enough memory; `choose` ignores what has no measurement
                self._measure_all(parallelism)
        best = choose(self._measurements, self._workloads, tried, default)
        encode, decode = (list(self._batches(stage, best)) for stage in (Stage.ENCODE, Stage.GENERATE))
        grid = [Parallelism(best.threads, one, other) for one in encode for other in decode]
        chosen = choose(self._measurements, self._workloads, grid, default)
        if chosen == default:
            return TuningResult(default, default, 1.0, self._workloads, self._measurements)
        n_before = len(self._made)
        for parallelism in (default, chosen, default, chosen):
            self._measure_all(parallelism)
        gain = Measurements(tuple(self._made[n_before:])).gain(self._workloads, chosen, over=default)
        return TuningResult(default, chosen, gain, self._workloads, self._measurements)

    @property
    def _measurements(self) -> Measurements:
        return Measurements(tuple(self._made))

    def _measure_all(self, parallelism: Parallelism) -> None:
        for workload in self._workloads:
            for stage in (Stage.ENCODE, Stage.GENERATE):
                self._measure(stage, workload, parallelism.threads, parallelism.batch(stage, workload))

    def _batches(self, stage: Stage, best: Parallelism) -> Iterator[BatchLimit]:
        """Measure larger and larger batches while they help. Yields the candidates, the default limit first."""
        yield best.encode if stage is Stage.ENCODE else best.decode
        on_gpu = self._model.facts.device.kind == "cuda"
        fastest = dict.fromkeys(self._workloads, 0.0)
        for batch in _GPU_BATCHES if on_gpu else _CPU_BATCHES:
            try:
                made = [self._known_or_measured(stage, each, best.threads, batch) for each in self._workloads]
            except RuntimeError:  # not enough memory, so a larger batch would not fit either
                return
            if batch > 1 and all(each.windows_per_s < _MUCH_SLOWER * fastest[each.workload] for each in made):
                return
            fastest = {each.workload: max(each.windows_per_s, fastest[each.workload]) for each in made}
            yield BatchLimit(batch)
            if max(each.call_s for each in made) > MAX_CALL_S:
                return

    def _known_or_measured(self, stage: Stage, workload: Workload, threads: int, batch: int) -> Measurement:
        return self._measurements.find(stage, workload, threads, batch) or self._measure(
            stage, workload, threads, batch
        )

    def _measure(self, stage: Stage, workload: Workload, threads: int, batch: int) -> Measurement:
        call = self._call(stage, workload, batch)
        began = time.monotonic()
        rounds = [_round(call, threads)]
        while sum(rounds) < _SLOW_ROUND_S and (
            len(rounds) < _MIN_ROUNDS or time.monotonic() - began < self._min_time_s
        ):
            rounds.append(_round(call, threads))
        call_s = min(rounds)
        made = Measurement(stage, workload, threads, batch, threads * batch / call_s, call_s)
        self._made.append(made)
        self._on_measurement(made)
        return made

    def _call(self, stage: Stage, workload: Workload, batch: int) -> Callable[[], object]:
        features = self._features[workload]
        if stage is Stage.ENCODE:
            return lambda: self._model.encode([features] * batch)
        (encoding,) = self._model.encode([features])
        options = replace(self._options, max_new_tokens=workload.n_tokens)
        prompt = self._vocabulary.prompt(options, "en")
        suppressed = (*self._vocabulary.suppressed, self._vocabulary.tokenizer_for("en", "transcribe").eot)
        how = generate_options(options, prompt, 0.0, tuple(sorted(suppressed)))
        return lambda: self._model.generate([encoding] * batch, [prompt.tokens] * batch, how)


def _untuned(settings: Settings) -> Settings:
    return settings.model_copy(update={"model_threads": None, "encode_batch": None, "decode_batch": None})


def _round(call: Callable[[], object], threads: int) -> float:
    """Run `threads` calls side by side, and return the seconds of the longest."""
    ready = Barrier(threads)

    def timed() -> float:
        ready.wait()
        began = time.monotonic()
        call()
        return time.monotonic() - began

    with ThreadPoolExecutor(threads) as pool:
        return max(done.result() for done in [pool.submit(timed) for _ in range(threads)])
