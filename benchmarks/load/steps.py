"""Measure the CPU time of one decoder step by beam width, windows in the call, encoder positions and prompt.

    python -m benchmarks.load.steps --model base

One thread decodes random encodings to fixed numbers of tokens. The difference between two lengths is the time of the
steps between them. Prints a Markdown table. CPU time depends less than elapsed time on what else the machine does.
"""

import argparse
import os
import time
from dataclasses import dataclass

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
_TEXT_BEFORE, _TEXT_TOKEN = "<|startofprev|>", "Ġand"


@dataclass(frozen=True, slots=True)
class _Call:
    n_positions: int
    n_windows: int
    beam: int = 5
    n_before: int = 0
    """Text tokens in the prompt."""


_CALLS = (
    _Call(16, 1, beam=1), _Call(16, 1, beam=4), _Call(16, 1), _Call(16, 2), _Call(16, 3), _Call(16, 4),
    _Call(1000, 1), _Call(1000, 3), _Call(1000, 1, n_before=48), _Call(1000, 1, n_before=222),
)  # fmt: skip


def step_ms(model: ctranslate2.models.Whisper, width: int, call: _Call) -> float:
    """Return the milliseconds of CPU time of one decoder step. Other programs can only add to it."""
    shape = call.n_windows, call.n_positions, width
    encoded = np.random.default_rng(1).standard_normal(shape, dtype=np.float32) * np.float32(0.3)
    few_s, many_s = (
        min(_cpu_s(model, encoded, n_steps, call) for _ in range(_N_TIMES)) for n_steps in (_FEW_STEPS, _MANY_STEPS)
    )
    return 1000 * (many_s - few_s) / (_MANY_STEPS - _FEW_STEPS)


def _cpu_s(model: ctranslate2.models.Whisper, encoded: NDArray[np.float32], n_steps: int, call: _Call) -> float:
    prompt = [*([_TEXT_BEFORE, *[_TEXT_TOKEN] * call.n_before] if call.n_before else []), *_PROMPT]
    before = time.process_time()
    results = model.generate(
        ctranslate2.StorageView.from_array(encoded),
        [prompt] * len(encoded),
        beam_size=call.beam,
        max_length=max(2 * n_steps, len(prompt) - 1 + n_steps),
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
    for call in _CALLS:
        ms = step_ms(model, width, call)
        about = (call.n_positions, call.n_windows, call.beam, call.n_before)
        rows.append([*map(str, about), f"{ms:.1f}", f"{ms / call.n_windows:.1f}"])
    heads = ["encoder positions", "windows", "beam", "tokens before", "ms a step", "ms a step and window"]
    return table(heads, rows)


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
