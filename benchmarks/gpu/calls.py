"""Measure the model alone, or faster-whisper's pipeline, in a process of its own. Prints one JSON object.

python -m benchmarks.gpu.calls calls --model FOLDER --device cuda:0 --compute-type float16 --batches 1 2 4 8
python -m benchmarks.gpu.calls pipeline --model FOLDER --device cuda:0 --compute-type float16 --file long.flac

A separate process returns its GPU memory to the next measurement.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import ctranslate2
import numpy as np
from faster_whisper import BatchedInferencePipeline, WhisperModel

from asr_service.hardware.cublas import load_cublas
from benchmarks.common import arguments
from benchmarks.gpu.usage import sampled

WINDOW_S = 30.0
N_TOKENS = 90
"""Generated tokens per window, about as many as half a minute of speech has."""
MAX_LENGTH = 2 * N_TOKENS
"""CTranslate2 allows half of `max_length` for new tokens."""

_PROMPT = ("<|startoftranscript|>", "<|en|>", "<|transcribe|>")


@dataclass(frozen=True, slots=True)
class BatchCost:
    batch: int
    encode_s: float
    generate_s: float
    n_tokens: float
    """Generated tokens per window."""
    realtime: float
    """Seconds of audio per second."""
    peak_mib: float
    failure: str | None = None


def cost(model: ctranslate2.models.Whisper, batch: int, device: str, n_times: int) -> BatchCost:
    """Encode and decode `batch` windows of 30 s of noise with beam 5. Returns medians after a warm-up."""
    features = np.random.default_rng(1).standard_normal((batch, model.n_mels, 3000), dtype=np.float32)
    storage = ctranslate2.StorageView.from_array(features)
    lengths: list[int] = []

    def generate(encoded: ctranslate2.StorageView) -> None:
        results = model.generate(encoded, [list(_PROMPT)] * batch, beam_size=5, max_length=MAX_LENGTH)
        lengths.extend(len(result.sequences_ids[0]) for result in results)

    try:
        with sampled(device) as usage:
            encoded = model.encode(storage, to_cpu=False)
            encode_s = _median(lambda: np.array(model.encode(storage, to_cpu=True)), n_times)
            generate_s = _median(lambda: generate(encoded), n_times)
    except RuntimeError as error:
        return BatchCost(batch, 0, 0, 0, 0, 0, failure=str(error)[:200])
    realtime = batch * WINDOW_S / (encode_s + generate_s)
    return BatchCost(batch, encode_s, generate_s, statistics.mean(lengths), realtime, usage.peak_mib)


def _median(work: Callable[[], object], n_times: int) -> float:
    """Return the median seconds. A call returns results in host memory, so the device has finished when it returns."""
    work()
    times = []
    for _ in range(n_times):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def pipeline_seconds(args: argparse.Namespace) -> dict[str, float]:
    """Run faster-whisper's batched pipeline on one file with the same number of tokens per window."""
    kind, _, index = args.device.partition(":")
    model = WhisperModel(args.model, device=kind, device_index=int(index or 0), compute_type=args.compute_type)
    pipeline = BatchedInferencePipeline(model=model)
    options = {"beam_size": 5, "batch_size": 16, "max_new_tokens": MAX_LENGTH - len(_PROMPT) - 1, "language": "en"}
    with sampled(args.device) as usage:
        times = []
        for _ in range(2):
            began = time.perf_counter()
            segments, info = pipeline.transcribe(str(args.file), **options)
            n_segments = sum(1 for _ in segments)
            times.append(time.perf_counter() - began)
    return {"seconds": min(times), "audio_s": info.duration, "segments": n_segments, "peak_mib": usage.peak_mib}


def main() -> None:
    args = _arguments()
    kind, _, index = args.device.partition(":")
    if kind == "cuda":
        load_cublas()
    if args.what == "pipeline":
        print(json.dumps(pipeline_seconds(args)))
        return
    model = ctranslate2.models.Whisper(
        args.model, device=kind, device_index=int(index or 0), compute_type=args.compute_type
    )
    costs = [cost(model, batch, args.device, args.times) for batch in args.batches]
    print(json.dumps({"compute_type": model.compute_type, "batches": [asdict(each) for each in costs]}))


def _arguments() -> argparse.Namespace:
    parser = arguments.plain_parser(__doc__)
    parser.add_argument("what", choices=("calls", "pipeline"))
    parser.add_argument("--model", required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--compute-type", required=True)
    parser.add_argument("--batches", type=int, nargs="+", default=[1])
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--file", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
