"""Measure the CPU time of one decoder step by beam width, windows in the call, and encoder positions.

    python -m benchmarks.load.steps --model base

One thread decodes random encodings to fixed numbers of tokens. The difference between two lengths is the time of the
steps between them. Prints a Markdown table. CPU time depends less than elapsed time on what else the machine does.
"""

import argparse
import os
import time

import ctranslate2
import numpy as np
from numpy.typing import NDArray

from asr_service.hardware.cpu import cpu_flags, enable_avx512
from asr_service.hardware.malloc import retain_heap
from asr_service.models.dimensions import read_dimensions
from benchmarks.common import arguments
from benchmarks.common.models import model_folder
from benchmarks.common.report import table

_PROMPT = ["<|startoftranscript|>", "<|en|>", "<|transcribe|>"]
_FEW_STEPS, _MANY_STEPS = 8, 40
_N_TIMES = 4
_CALLS = ((16, 1, 1), (16, 1, 4), (16, 1, 5), (16, 2, 5), (16, 3, 5), (16, 4, 5), (1000, 1, 5), (1000, 3, 5))
"""Encoder positions, windows and beam width of each row."""


def step_ms(model: ctranslate2.models.Whisper, width: int, n_positions: int, n_windows: int, beam: int) -> float:
    """Return the milliseconds of CPU time of one decoder step. Other programs can only add to it."""
    encoded = np.random.default_rng(1).standard_normal((n_windows, n_positions, width), dtype=np.float32) * np.float32(
        0.3
    )
    few_s, many_s = (
        min(_cpu_s(model, encoded, n_steps, beam) for _ in range(_N_TIMES)) for n_steps in (_FEW_STEPS, _MANY_STEPS)
    )
    return 1000 * (many_s - few_s) / (_MANY_STEPS - _FEW_STEPS)


def _cpu_s(model: ctranslate2.models.Whisper, encoded: NDArray[np.float32], n_steps: int, beam: int) -> float:
    before = time.process_time()
    results = model.generate(
        ctranslate2.StorageView.from_array(encoded),
        [_PROMPT] * len(encoded),
        beam_size=beam,
        max_length=2 * n_steps,
        suppress_tokens=[-1, 50257],  # no end of text, so that every window has all steps
    )
    elapsed = time.process_time() - before
    if len(results[0].sequences_ids[0]) != n_steps:
        raise RuntimeError(f"The model wrote {len(results[0].sequences_ids[0])} tokens instead of {n_steps}.")
    return elapsed


def measure(folder: str, width: int) -> str:
    """Return the table of all calls."""
    model = ctranslate2.models.Whisper(folder, compute_type="int8", intra_threads=1)
    rows = []
    for n_positions, n_windows, beam in _CALLS:
        ms = step_ms(model, width, n_positions, n_windows, beam)
        rows.append([str(n_positions), str(n_windows), str(beam), f"{ms:.1f}", f"{ms / n_windows:.1f}"])
    return table(["encoder positions", "windows", "beam", "ms a step", "ms a step and window"], rows)


def main() -> None:
    enable_avx512(os.environ, cpu_flags())  # as in the service's workers
    retain_heap()
    folder = model_folder(_arguments().model)
    dimensions = read_dimensions(folder)
    if dimensions is None:
        raise SystemExit(f"The dimensions of the model in {folder} cannot be read.")
    print(measure(str(folder), dimensions.d_model))


def _arguments() -> argparse.Namespace:
    parser = arguments.plain_parser(__doc__)
    parser.add_argument("--model", default="base")
    return parser.parse_args()


if __name__ == "__main__":
    main()
