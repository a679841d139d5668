"""How fast this machine could be at all: the operations and bytes of one window, against what the cores reach.

    python -m benchmarks.load.limit --model base

What the cores reach is measured with CTranslate2 itself: random Transformers of two depths, wide enough for their
matrix products to be all that counts; the difference between them is some layers and nothing else. The window is one
clip of 11 s: its short encoder context, its tokens, beam 5.
"""

import argparse
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np

from asr_service.hardware.cpu import cpu_flags, widen_vectors
from benchmarks.common.machine import Watch, machine, wait_for_quiet
from benchmarks.common.models import model_folder
from benchmarks.common.random_model import Shape, write_random_model
from benchmarks.common.report import RESULTS

_WIDE = Shape(width=2048, heads=32, layers=2, mels=80, cantonese=False)
_DEEPER = 6
_ROWS_FRAMES = 400
_TIMES = 5


@dataclass(frozen=True, slots=True)
class Window:
    """One window of a Whisper: `width` and so on are the model's, the rest is what it hears and says."""

    width: int
    layers: int
    mels: int
    n_tokens_known: int
    frames: int
    steps: int
    beam: int

    @property
    def positions(self) -> int:
        return self.frames // 2

    @property
    def encoder_ops(self) -> float:
        """Multiplications and additions: two convolutions, then in each layer 12 products of width² and attention."""
        d, t = self.width, self.positions
        convolutions = 2 * 3 * self.mels * d * self.frames + 2 * 3 * d * d * t
        return convolutions + self.layers * layer_ops(d, t)

    @property
    def cross_ops(self) -> float:
        """Keys and values of the encoder's output, made once a window in each decoder layer."""
        return self.layers * 2 * 2 * self.width**2 * self.positions

    @property
    def step_ops(self) -> float:
        """One token of one hypothesis: 14 products of width² in each layer, attention, and the vocabulary."""
        d = self.width
        attention = 4 * d * (self.positions + self.steps / 2)
        return self.layers * (28 * d * d + attention) + 2 * d * self.n_tokens_known

    @property
    def decoder_ops(self) -> float:
        return self.cross_ops + self.steps * self.beam * self.step_ops

    def decoder_bytes(self, batch: int) -> float:
        """Read in all steps: int8 weights, once for all hypotheses of a batch's windows, and this window's float32 keys
        and values.
        """
        weights = self.layers * 14 * self.width**2 + self.width * self.n_tokens_known
        return self.steps * (weights / batch + self.layers * 2 * self.positions * self.width * 4)


def layer_ops(width: int, positions: int) -> float:
    """One encoder layer: 12 products of width² a position, and each position with each."""
    return 24 * width**2 * positions + 4 * positions**2 * width


@dataclass(frozen=True, slots=True)
class Reached:
    threads: int
    int8_gops: float
    float32_gops: float
    read_gb_s: float


def reached(n_threads: int, folder: Path) -> Reached:
    """Billions of operations a second in int8 products (CTranslate2) and float32 (NumPy), and bytes read."""
    return Reached(n_threads, _int8_rate(n_threads, folder) / 1e9, _float_rate() / 1e9, _read_rate(n_threads) / 1e9)


def _int8_rate(n_threads: int, folder: Path) -> float:
    shallow, deep = (_encode_seconds(layers, n_threads, folder) for layers in (_WIDE.layers, _DEEPER))
    ops = (_DEEPER - _WIDE.layers) * layer_ops(_WIDE.width, _ROWS_FRAMES // 2)
    return n_threads * ops / (deep - shallow)


def _encode_seconds(layers: int, n_threads: int, folder: Path) -> float:
    """Median seconds of one call while every thread makes one."""
    path = folder / str(layers)
    if not path.exists():
        write_random_model(replace(_WIDE, layers=layers), model_folder("base") / "tokenizer.json", path, float16=False)
    model = ctranslate2.models.Whisper(str(path), compute_type="int8", inter_threads=n_threads, intra_threads=1)
    features = np.random.default_rng(1).standard_normal((1, _WIDE.mels, _ROWS_FRAMES), dtype=np.float32)
    return side_by_side(lambda: model.encode(ctranslate2.StorageView.from_array(features)), n_threads)


def side_by_side(work: Callable[[], object], n_threads: int) -> float:
    """Seconds for one piece of work on each thread, the median of several rounds after one to warm up."""
    times = []
    for _ in range(_TIMES + 1):
        threads = [threading.Thread(target=work) for _ in range(n_threads)]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def _float_rate() -> float:
    """NumPy's own product, on as many threads as its library takes."""
    a = np.random.default_rng(1).standard_normal((1024, 1024), dtype=np.float32)
    return 2 * 1024**3 / side_by_side(lambda: a @ a, 1)


def _read_rate(n_threads: int) -> float:
    """Far more than any cache holds per core."""
    block = np.ones(1 << 26, np.float32)
    return n_threads * block.nbytes / side_by_side(block.max, n_threads)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    wait_for_quiet(20.0)
    watch = Watch.start()
    model = ctranslate2.models.Whisper(str(model_folder(args.model)), compute_type="int8", intra_threads=1)
    window = Window(args.width, args.layers, model.n_mels, args.vocabulary, args.frames, args.steps, 5)
    with tempfile.TemporaryDirectory(prefix="asr-limit-") as folder:
        found = [reached(n_threads, Path(folder)) for n_threads in (1, args.threads)]
    encode_s, generate_s = _window_seconds(args, window)
    best = found[-1]
    operations_s = (window.encoder_ops + window.decoder_ops) / best.int8_gops / 1e9
    bytes_s = window.decoder_bytes(args.batch) / best.read_gb_s / 1e9
    return {
        "about": machine(),
        "window": {**asdict(window), "encoder_gop": window.encoder_ops / 1e9, "decoder_gop": window.decoder_ops / 1e9},
        "reached": [asdict(each) for each in found],
        "limit, s a window": {"operations": operations_s, "decoder's bytes": bytes_s, "batch": args.batch},
        "model's calls, s a window": {"encode": encode_s, "generate": generate_s, "both": encode_s + generate_s},
        "share of the operations' limit": operations_s / (encode_s + generate_s),
        "others_cores": watch.others_cores(),
    }


def _window_seconds(args: argparse.Namespace, window: Window) -> tuple[float, float]:
    """Encode and decode such a window by the real model, single-threaded calls side by side: seconds a window."""
    model = ctranslate2.models.Whisper(
        str(model_folder(args.model)), compute_type="int8", inter_threads=args.threads, intra_threads=1
    )
    features = np.random.default_rng(1).standard_normal((1, window.mels, window.frames), dtype=np.float32) * 0.1
    encoded = np.array(model.encode(ctranslate2.StorageView.from_array(features)))
    batch = np.ascontiguousarray(np.repeat(encoded, args.batch, axis=0))
    prompts = [["<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>"]] * args.batch

    def generate() -> None:
        model.generate(
            ctranslate2.StorageView.from_array(batch),
            prompts,
            beam_size=window.beam,
            max_length=2 * window.steps,
            suppress_tokens=[-1, 50257],
        )

    encode_s = side_by_side(lambda: model.encode(ctranslate2.StorageView.from_array(features)), args.threads)
    return encode_s / args.threads, side_by_side(generate, args.threads) / args.threads / args.batch


def main() -> None:
    args = _arguments()
    widen_vectors(os.environ, cpu_flags())  # as the service's workers do
    data = measure(args)
    args.out.with_suffix(".json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(data, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="base")
    parser.add_argument("--width", type=int, default=512, help="of the model; base's by default, as the next two")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--vocabulary", type=int, default=51865)
    parser.add_argument("--frames", type=int, default=1344, help="encoder context, 10 ms each")
    parser.add_argument("--steps", type=int, default=34, help="tokens that the window gives")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=2, help="windows decoded at once")
    parser.add_argument("--out", type=Path, default=RESULTS / "limit", help="without its suffix")
    return parser.parse_args()


if __name__ == "__main__":
    main()
