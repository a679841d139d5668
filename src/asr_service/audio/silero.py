"""Silero's voice activity model, run in pieces: faster-whisper ships it, and runs a whole recording in one call.

One call over five minutes takes hundreds of megabytes for a moment; pieces of 16 s take a few, give the same
probabilities, and are no slower.
"""

import functools
from pathlib import Path

import numpy as np
import onnxruntime
from faster_whisper.utils import get_assets_path
from numpy.typing import NDArray

FRAME = 512
"""Samples that one probability stands for: 32 ms."""
_CONTEXT = 64
"""Samples before a frame that the model looks at too."""
_FRAMES_A_CALL = 512
_STATE = (1, 1, 128)


def speech_probabilities(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """How likely each frame of `samples` (float32 [n], 16 kHz mono) is speech: float32 [ceil(n / 512)].

    Costs about 3 ms a second of audio on one core, and may run in several threads at once.
    """
    n_frames = -(-len(samples) // FRAME)
    if not n_frames:
        return np.empty(0, np.float32)
    padded = np.zeros(_CONTEXT + n_frames * FRAME, np.float32)
    padded[_CONTEXT : _CONTEXT + len(samples)] = samples
    windows = np.lib.stride_tricks.sliding_window_view(padded, _CONTEXT + FRAME)[::FRAME]
    session, h, c = _session(), np.zeros(_STATE, np.float32), np.zeros(_STATE, np.float32)
    parts = []
    for start in range(0, n_frames, _FRAMES_A_CALL):
        part, h, c = session.run(None, {"input": windows[start : start + _FRAMES_A_CALL], "h": h, "c": c})
        parts.append(part.reshape(-1))
    return np.concatenate(parts)


@functools.lru_cache
def _session() -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # Requests run side by side; one that spread over the cores would take them from the model.
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    path = Path(get_assets_path()) / "silero_vad_v6.onnx"
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"], sess_options=options)
