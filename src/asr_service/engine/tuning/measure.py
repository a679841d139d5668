"""Measures how fast a model is by threads and windows a call, as `engine.tuning.choice` needs it to choose.

The sound is made up, since none is at hand, and a model says little to it: so each window is decoded to a fixed number
of tokens, about as many as speech of its length has, the end of text forbidden. Scores and words mean nothing here.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from threading import Barrier

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
from asr_service.engine.sizing import batch_limits, encoder_margin_s
from asr_service.engine.tuning.choice import LONGEST_CALL_S, Measured, Point, Sizes, Work, choose, gain
from asr_service.hardware.devices import Device
from asr_service.settings import Settings

_CLIP_S = 11.0
_WINDOW_S = 30.0
_TOKENS_PER_SECOND = 3.0
_MOST_CPU_THREADS = 16
_MOST_GPU_THREADS = 2
_CPU_BATCHES = (1, 2, 4, 8)
_GPU_BATCHES = (1, 2, 4, 8, 16, 32)
_ROUNDS_S = 0.6
_FEWEST_ROUNDS = 2
_SLOW_S = 3.0
"""A round that lasts longer is not made twice."""
_NOT_WORTH = 0.8
"""A batch this much slower than a smaller one ends the search for larger ones."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """What came of it. `gain` is the chosen sizes' speed over the default's, both measured once more in turn."""

    default: Sizes
    chosen: Sizes
    gain: float
    works: tuple[Work, ...]
    measured: Measured


def default_sizes(settings: Settings, device: Device) -> Sizes:
    """Give what the service does by itself where none of the three settings is set."""
    bare = settings.model_copy(update={"model_threads": None, "encode_batch": None, "decode_batch": None})
    limits = batch_limits(bare, on_gpu=device.kind == "cuda")
    return Sizes(model_threads(bare, device), limits[Stage.ENCODE], limits[Stage.GENERATE])


def thread_counts(default: Sizes, device: Device, n_cpu_slots: int = 1) -> tuple[int, ...]:
    """Give the numbers of threads to try: doubled from one up, and the default's own.

    On a CPU up to its cores: those of one slot, where several are to share them.
    """
    most = _MOST_GPU_THREADS
    if device.kind == "cpu":
        cores = len(os.sched_getaffinity(0)) // max(n_cpu_slots, 1)
        most = max(default.threads, min(cores, _MOST_CPU_THREADS))
    doubled = (2**power for power in range(most.bit_length()))
    return tuple(sorted({*doubled, default.threads} | ({most} if device.kind == "cpu" else set())))


def works_of(settings: Settings, device: Device) -> tuple[Work, ...]:
    """Give a clip of 11 s in its context and a full window."""
    margin_s = encoder_margin_s(settings, on_gpu=device.kind == "cuda")
    return (
        Work("clip of 11 s", context_frames(_CLIP_S, margin_s), round(_CLIP_S * _TOKENS_PER_SECOND)),
        Work("window of 30 s", FULL_CONTEXT, round(_WINDOW_S * _TOKENS_PER_SECOND)),
    )


class Tuner:
    """Threads are tried first, with the default's batches; then batches, with the threads that were fastest."""

    def __init__(
        self,
        model: SpeechModel,
        default: Sizes,
        works: Sequence[Work],
        beam_size: int,
        on_point: Callable[[Point], None] = lambda _: None,
        rounds_s: float = _ROUNDS_S,
    ) -> None:
        """`on_point` is told of each measurement as it is made; each is repeated for `rounds_s`, twice at least."""
        self._model, self._default, self._works = model, default, tuple(works)
        self._options = DecodingOptions(language="en", timestamps=False, beam_size=beam_size)
        self._vocabulary = Vocabulary(model.tokenizer, multilingual=model.facts.multilingual)
        self._on_point = on_point
        self._rounds_s = rounds_s
        log_mel, sound = LogMel(model.facts.n_mels), synthetic_sound(_WINDOW_S)
        self._features = {work: log_mel(sound, work.n_frames) for work in self._works}
        self._points: list[Point] = []

    def tune(self, threads: Iterable[int]) -> Tuning:
        """Measure and choose. RuntimeError: the device cannot even do what the default does."""
        default = self._default
        self._call(Stage.ENCODE, self._works[0], 1)()  # the first call takes memory, and is not counted
        tried = [default, *(replace(default, threads=number) for number in threads if number != default.threads)]
        self._measure_sizes(default)
        for sizes in tried[1:]:
            with suppress(RuntimeError):  # more than the device has memory for; `choose` passes over it
                self._measure_sizes(sizes)
        best = choose(self._measured, self._works, tried, default)
        encode, decode = (list(self._batches(stage, best)) for stage in (Stage.ENCODE, Stage.GENERATE))
        grid = [Sizes(best.threads, one, other) for one in encode for other in decode]
        chosen = choose(self._measured, self._works, grid, default)
        if chosen == default:
            return Tuning(default, default, 1.0, self._works, self._measured)
        before = len(self._points)
        for sizes in (default, chosen, default, chosen):
            self._measure_sizes(sizes)
        again = Measured(tuple(self._points[before:]))
        return Tuning(default, chosen, gain(again, self._works, chosen, default), self._works, self._measured)

    @property
    def _measured(self) -> Measured:
        return Measured(tuple(self._points))

    def _measure_sizes(self, sizes: Sizes) -> None:
        for work in self._works:
            for stage in (Stage.ENCODE, Stage.GENERATE):
                self._measure(stage, work, sizes.threads, sizes.batch(stage, work))

    def _batches(self, stage: Stage, best: Sizes) -> Iterator[BatchLimit]:
        """Measure ever larger batches, as far as they are of use; the default's limit is one of the candidates."""
        by_default = best.encode if stage is Stage.ENCODE else best.decode
        yield by_default
        on_gpu = self._model.facts.device.kind == "cuda"
        fastest = dict.fromkeys(self._works, 0.0)
        for batch in _GPU_BATCHES if on_gpu else _CPU_BATCHES:
            try:
                points = [self._point(stage, work, best.threads, batch) for work in self._works]
            except RuntimeError:  # out of the device's memory: larger ones would be too
                return
            if batch > 1 and all(point.windows_per_s < _NOT_WORTH * fastest[point.work] for point in points):
                return
            fastest = {point.work: max(point.windows_per_s, fastest[point.work]) for point in points}
            yield BatchLimit(batch)
            if max(point.call_s for point in points) > LONGEST_CALL_S:
                return

    def _point(self, stage: Stage, work: Work, threads: int, batch: int) -> Point:
        known = self._measured.at(stage, work, threads, batch)
        return known or self._measure(stage, work, threads, batch)

    def _measure(self, stage: Stage, work: Work, threads: int, batch: int) -> Point:
        call = self._call(stage, work, batch)
        began = time.monotonic()
        rounds = [_round(call, threads)]
        while sum(rounds) < _SLOW_S and (len(rounds) < _FEWEST_ROUNDS or time.monotonic() - began < self._rounds_s):
            rounds.append(_round(call, threads))
        call_s = min(rounds)
        point = Point(stage, work, threads, batch, threads * batch / call_s, call_s)
        self._points.append(point)
        self._on_point(point)
        return point

    def _call(self, stage: Stage, work: Work, batch: int) -> Callable[[], object]:
        features = self._features[work]
        if stage is Stage.ENCODE:
            return lambda: self._model.encode([features] * batch)
        (encoding,) = self._model.encode([features])
        options = replace(self._options, max_new_tokens=work.n_tokens)
        prompt = self._vocabulary.prompt(options, "en")
        endless = (*self._vocabulary.suppressed, self._vocabulary.tokenizer_for("en", "transcribe").eot)
        how = generate_options(options, prompt, 0.0, tuple(sorted(endless)))
        return lambda: self._model.generate([encoding] * batch, [prompt.tokens] * batch, how)


def _round(call: Callable[[], object], threads: int) -> float:
    """Seconds that `threads` calls side by side take, the longest of them."""
    ready = Barrier(threads)

    def timed() -> float:
        ready.wait()
        began = time.monotonic()
        call()
        return time.monotonic() - began

    with ThreadPoolExecutor(threads) as pool:
        return max(done.result() for done in [pool.submit(timed) for _ in range(threads)])
