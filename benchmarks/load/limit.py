"""Compare the model's speed with the limits of this machine's cores and memory.

    python -m benchmarks.load.limit --model base

The operations and bytes of one window are counted: a clip of 11 s with its short encoder context, its tokens and
beam 5. What the cores reach is measured with CTranslate2 on two random Transformers of different depth, so wide that
matrix products dominate. The difference between their times is the time of the additional layers.
"""

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np

from asr_service.hardware.cpu import cpu_flags, enable_avx512
from benchmarks.common import arguments
from benchmarks.common.machine import Watch, machine, wait_for_quiet
from benchmarks.common.models import model_folder
from benchmarks.common.random_model import Shape, write_random_model
from benchmarks.common.report import save_json
from benchmarks.common.threads import run_on_threads

_WIDE_SHAPE = Shape(width=2048, heads=32, layers=2, mels=80, cantonese=False)
_DEEP_LAYERS = 6
_N_FRAMES = 400
_N_TIMES = 5


@dataclass(frozen=True, slots=True)
class Window:
    """The size of the model and of one window."""

    width: int
    layers: int
    mels: int
    vocabulary_size: int
    frames: int
    """Encoder context in frames of 10 ms."""
    steps: int
    """Generated tokens."""
    beam: int

    @property
    def positions(self) -> int:
        return self.frames // 2

    @property
    def encoder_ops(self) -> float:
        """Operations of the encoder: two convolutions, and per layer 12 products of width² and attention."""
        d, t = self.width, self.positions
        convolutions = 2 * 3 * self.mels * d * self.frames + 2 * 3 * d * d * t
        return convolutions + self.layers * layer_ops(d, t)

    @property
    def cross_ops(self) -> float:
        """Operations for the cross-attention keys and values, computed once per window in each decoder layer."""
        return self.layers * 2 * 2 * self.width**2 * self.positions

    @property
    def step_ops(self) -> float:
        """Operations per token of one hypothesis: 14 products of width² per layer, attention, and the vocabulary."""
        d = self.width
        attention = 4 * d * (self.positions + self.steps / 2)
        return self.layers * (28 * d * d + attention) + 2 * d * self.vocabulary_size

    @property
    def decoder_ops(self) -> float:
        return self.cross_ops + self.steps * self.beam * self.step_ops

    def decoder_bytes(self, batch: int) -> float:
        """Return the bytes that all steps read.

        These are the int8 weights, read once per step for the whole batch, and this window's float32 keys and values.
        """
        weights = self.layers * 14 * self.width**2 + self.width * self.vocabulary_size
        return self.steps * (weights / batch + self.layers * 2 * self.positions * self.width * 4)


def layer_ops(width: int, positions: int) -> float:
    """Return the operations of one encoder layer: 12 products of width² per position, and attention."""
    return 24 * width**2 * positions + 4 * positions**2 * width


@dataclass(frozen=True, slots=True)
class Throughput:
    """What the cores reach."""

    threads: int
    int8_gops: float
    float32_gops: float
    read_gb_s: float


def measure_throughput(n_threads: int, folder: Path) -> Throughput:
    """Measure billions of operations per second with int8 (CTranslate2) and float32 (NumPy), and GB read per second."""
    return Throughput(n_threads, _int8_rate(n_threads, folder) / 1e9, _float_rate() / 1e9, _read_rate(n_threads) / 1e9)


def _int8_rate(n_threads: int, folder: Path) -> float:
    shallow, deep = (_encode_seconds(layers, n_threads, folder) for layers in (_WIDE_SHAPE.layers, _DEEP_LAYERS))
    ops = (_DEEP_LAYERS - _WIDE_SHAPE.layers) * layer_ops(_WIDE_SHAPE.width, _N_FRAMES // 2)
    return n_threads * ops / (deep - shallow)


def _encode_seconds(layers: int, n_threads: int, folder: Path) -> float:
    """Return the median seconds of one call while every thread makes one."""
    path = folder / str(layers)
    if not path.exists():
        write_random_model(
            replace(_WIDE_SHAPE, layers=layers), model_folder("base") / "tokenizer.json", path, float16=False
        )
    model = ctranslate2.models.Whisper(str(path), compute_type="int8", inter_threads=n_threads, intra_threads=1)
    features = np.random.default_rng(1).standard_normal((1, _WIDE_SHAPE.mels, _N_FRAMES), dtype=np.float32)
    return concurrent_seconds(lambda: model.encode(ctranslate2.StorageView.from_array(features)), n_threads)


def concurrent_seconds(work: Callable[[], object], n_threads: int) -> float:
    """Run the work once on each thread. Returns the median seconds of several rounds after a warm-up."""
    times = [run_on_threads(work, n_threads) for _ in range(_N_TIMES + 1)]
    return statistics.median(times[1:])


def _float_rate() -> float:
    """Measure NumPy's matrix product, on as many threads as its BLAS library uses."""
    a = np.random.default_rng(1).standard_normal((1024, 1024), dtype=np.float32)
    return 2 * 1024**3 / concurrent_seconds(lambda: a @ a, 1)


def _read_rate(n_threads: int) -> float:
    """Measure reading of a block that is much larger than any cache."""
    block = np.ones(1 << 26, np.float32)
    return n_threads * block.nbytes / concurrent_seconds(block.max, n_threads)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    wait_for_quiet(20.0)
    watch = Watch.start()
    model = ctranslate2.models.Whisper(str(model_folder(args.model)), compute_type="int8", intra_threads=1)
    window = Window(args.width, args.layers, model.n_mels, args.vocabulary, args.frames, args.steps, 5)
    with tempfile.TemporaryDirectory(prefix="asr-limit-") as folder:
        found = [measure_throughput(n_threads, Path(folder)) for n_threads in (1, args.threads)]
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
    """Encode and decode such a window with the real model in concurrent calls. Returns the seconds per window."""
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

    encode_s = concurrent_seconds(lambda: model.encode(ctranslate2.StorageView.from_array(features)), args.threads)
    return encode_s / args.threads, concurrent_seconds(generate, args.threads) / args.threads / args.batch


def main() -> None:
    args = _arguments()
    enable_avx512(os.environ, cpu_flags())  # as in the service's workers
    data = measure(args)
    save_json(args.out, data)
    print(json.dumps(data, indent=1))


def _arguments() -> argparse.Namespace:
    parser = arguments.plain_parser(__doc__)
    parser.add_argument("--model", default="base")
    parser.add_argument(
        "--width", type=int, default=512, help="of the model; this and the next two default to those of base"
    )
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--vocabulary", type=int, default=51865)
    parser.add_argument("--frames", type=int, default=1728, help="encoder context in frames of 10 ms")
    parser.add_argument("--steps", type=int, default=34, help="generated tokens per window")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=2, help="windows per decoder call")
    arguments.add_out(parser, "limit")
    return parser.parse_args()


if __name__ == "__main__":
    main()
