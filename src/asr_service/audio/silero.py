"""Silero's voice activity model, run in pieces of 16 s.

faster-whisper ships the model and runs a whole recording in one call. Over five minutes of audio such a call takes
hundreds of megabytes for a moment. Pieces take a few megabytes, give the same probabilities and are no slower.
"""

import functools
import os
from pathlib import Path

import numpy as np
from faster_whisper.utils import get_assets_path
from numpy.typing import NDArray

# onnxruntime reports its usage to its maker and stores a device number under $HOME, unless this variable is set when it
# is imported. No other module imports it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

FRAME = 512
"""Samples per probability: 32 ms."""
_CONTEXT = 64
"""Samples before a frame that the model also reads."""
_FRAMES_PER_CALL = 512
_STATE = (1, 1, 128)
_State = tuple[NDArray[np.float32], NDArray[np.float32]]
"""What the model remembers of the frames before: its h and c."""


def speech_probabilities(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probability of speech for each frame: float32 [ceil(n / 512)].

    `samples` is float32 [n], 16 kHz mono. Takes about 3 ms per second of audio on one core. Thread-safe.
    """
    n_frames = -(-len(samples) // FRAME)
    padded = np.zeros(_CONTEXT + n_frames * FRAME, np.float32)
    padded[_CONTEXT : _CONTEXT + len(samples)] = samples
    return _probabilities(padded, n_frames, _initial_state())[0]


class SpeechStream:
    """Computes the probabilities of speech of sound that arrives in pieces. Takes one call at a time."""

    def __init__(self) -> None:
        """Begin at the start of the sound."""
        self._state = _initial_state()
        self._pending = np.zeros(_CONTEXT, np.float32)
        """The context of the next frame, and the samples of it that are there."""

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probability of speech for each frame that is complete now: float32 [n_frames]."""
        pending = np.concatenate([self._pending, samples])
        n_frames = (len(pending) - _CONTEXT) // FRAME
        self._pending = pending[n_frames * FRAME :].copy()
        probabilities, self._state = _probabilities(pending, n_frames, self._state)
        return probabilities


def _initial_state() -> _State:
    return np.zeros(_STATE, np.float32), np.zeros(_STATE, np.float32)


def _probabilities(samples: NDArray[np.float32], n_frames: int, state: _State) -> tuple[NDArray[np.float32], _State]:
    """Run the model over the context and the frames in `samples`, and return its state after them."""
    if not n_frames:
        return np.empty(0, np.float32), state
    windows = np.lib.stride_tricks.sliding_window_view(samples, _CONTEXT + FRAME)[::FRAME][:n_frames]
    session, (h, c) = _session(), state
    parts = []
    for start in range(0, n_frames, _FRAMES_PER_CALL):
        part, h, c = session.run(None, {"input": windows[start : start + _FRAMES_PER_CALL], "h": h, "c": c})
        parts.append(part.reshape(-1))
    return np.concatenate(parts), (h, c)


@functools.lru_cache
def _session() -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # Requests run in parallel. A session with more threads would take cores from the Whisper model.
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    path = Path(get_assets_path()) / "silero_vad_v6.onnx"
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"], sess_options=options)
