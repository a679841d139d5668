"""Choose the number of windows in one call of the model, and of CPU threads outside the model."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from asr_service.audio import SAMPLE_RATE
from asr_service.audio.features import FULL_CONTEXT
from asr_service.engine.model.protocol import ModelFacts
from asr_service.engine.model.stages import Stage
from asr_service.engine.options import MAX_LENGTH
from asr_service.engine.schedule.batch import BatchLimit
from asr_service.hardware.nvml import gpu_status
from asr_service.models.dimensions import ModelDimensions
from asr_service.settings import Settings

_MAX_CPU_POOL_THREADS: Final = 4
_MAX_CPU_FRAMES: Final = 4096
"""Maximum frames of a decoder call on a CPU, by default.

With the margin and the minimum length of the short context, a call holds four clips of up to 4.2 s of speech, three of
up to 7.4 s, two of up to 14.4 s, or one longer window. So two clips of 11 s share a call. Windows of long recordings
have a shorter margin: two of up to 17.9 s share a call. On the 2-core Xeon of benchmarks/results/sim-costs.json a
window that shares a call with one other takes up to a tenth less decoder time than alone (9 % at 11 s), and about the
same in a call of four. On an AMD processor without AMX, calls of four were faster. More frames make longer calls, and a
thread serves no clip during a call (ADR 5).
"""
_GPU_ENCODE_WINDOWS: Final = 8
_GPU_DECODE_WINDOWS: Final = 16
_CPU_DECODE_WINDOWS: Final = 4
_RESERVE_BYTES: Final = 1024**3
"""GPU memory that batches leave free: activations and logits of the decoder, and gaps between allocations."""
_POSITIONS: Final = FULL_CONTEXT // 2
"""Encoder positions of a window of 30 s: 1500."""
_WINDOW_MEMORY_BYTES: Final = 512 * 1024**2
"""Host memory for the windows of all requests of a slot. For large-v3 in float16 it holds 73 windows: three full calls
of the encoder and of the decoder."""
_LARGEST_D_MODEL: Final = 1280
"""Of all Whisper models."""


@dataclass(frozen=True, slots=True)
class GpuMemory:
    """What the size of a batch on a GPU follows from."""

    free_bytes: int
    """Free after the model is loaded."""
    dimensions: ModelDimensions
    compute_type: str
    n_threads: int
    """Calls of the model that run side by side, each with its own batch."""

    def max_windows(self, window_bytes: int) -> int:
        """Return how many windows fit into one batch; at least one."""
        return max((self.free_bytes - _RESERVE_BYTES) // self.n_threads // window_bytes, 1)


def gpu_memory(facts: ModelFacts, n_threads: int) -> GpuMemory | None:
    """Read how much memory the loaded model leaves on its GPU. None for a CPU, and if it is not known."""
    gpu = gpu_status(facts.device)
    if gpu is None or facts.dimensions is None:
        return None
    return GpuMemory(gpu.memory_free_bytes, facts.dimensions, facts.compute_type, n_threads)


def batch_limits(settings: Settings, *, on_gpu: bool, memory: GpuMemory | None = None) -> Mapping[Stage, BatchLimit]:
    """Return how many windows one call of each stage may hold. Settings that are set are taken as they are.

    A GPU encodes and decodes several windows in little more time than one. Its default batches are smaller where
    `memory` does not hold them; None stands for unknown, and then they are halved when memory runs out.
    A CPU encodes several windows no faster. It decodes four windows of 30 s together 5 to 27 % faster (it varied
    from run to run), but such a call lasts seconds in which its thread serves no clip. So by default the frames of a
    decoder call on a CPU are bounded.
    """
    if not on_gpu:
        encode = BatchLimit(settings.encode_batch or 1)
        decode = BatchLimit(
            settings.decode_batch or _CPU_DECODE_WINDOWS, None if settings.decode_batch else _MAX_CPU_FRAMES
        )
        return {Stage.ENCODE: encode, Stage.GENERATE: decode, Stage.ALIGN: decode}
    encode_windows, decode_windows = _GPU_ENCODE_WINDOWS, _GPU_DECODE_WINDOWS
    if memory:
        encode_windows = min(encode_windows, memory.max_windows(encode_bytes(memory.dimensions, memory.compute_type)))
        window_bytes = decode_bytes(memory.dimensions, memory.compute_type, settings.beam_size)
        decode_windows = min(decode_windows, memory.max_windows(window_bytes))
    decode = BatchLimit(settings.decode_batch or decode_windows)
    return {
        Stage.ENCODE: BatchLimit(settings.encode_batch or encode_windows),
        Stage.GENERATE: decode,
        Stage.ALIGN: decode,
    }


def decode_bytes(dimensions: ModelDimensions, compute_type: str, beam_size: int) -> int:
    """Return how much GPU memory one window of 30 s needs at most in a decoder batch.

    It is the sum of three parts, as CTranslate2 4.8 allocates them (src/layers/transformer.cc and
    src/decoding.cc in https://github.com/OpenNMT/CTranslate2):

    - the encoder output: 1500 positions x d_model;
    - the cross-attention cache: keys and values of the encoder output for each decoder layer, 2 x layers x 1500 x
      d_model. The beams share it (`TransformerDecoder::replicate_state`);
    - the self-attention cache: keys and values of each token for each decoder layer, 2 x layers x 448 x d_model,
      once for each beam. On a GPU the beams exist from the first step. 448 tokens, prompt included, are the most that
      Whisper decodes; speech of 30 s has about 100.

    All have the model's float type. For large-v3 (d_model 1280, 32 layers) in float16 with a beam of 5 these are 4, 246
    and 367 MB; 16 windows take 3.9 GB for cross-attention and up to 5.9 GB for the beams. Buffers that exist once for
    the running layer are not counted: they are part of the reserve. Sampling makes as many
    hypotheses as the beam has, and takes as much.
    """
    encoder_output = _POSITIONS * dimensions.d_model
    cross_attention = 2 * dimensions.n_decoder_layers * _POSITIONS * dimensions.d_model
    self_attention = 2 * dimensions.n_decoder_layers * MAX_LENGTH * dimensions.d_model
    return (encoder_output + cross_attention + beam_size * self_attention) * _float_bytes(compute_type)


def host_window_bytes(facts: ModelFacts, speech_s: float = 30.0) -> int:
    """Return how much host memory one window takes: features, encoding, and samples of `speech_s` seconds.

    The samples are those of the whole section if windows of one section follow each other.

    These are 1.9, 1.5 and 3.8 MB for large-v3 in float16. A window that is decoded again at full context also holds
    its first features and encoding, which are shorter and are not counted.
    """
    samples = int(speech_s * SAMPLE_RATE)
    d_model = facts.dimensions.d_model if facts.dimensions else _LARGEST_D_MODEL
    float_bytes = 4 if "bfloat16" in facts.compute_type else _float_bytes(facts.compute_type)  # NumPy has no bfloat16
    encoding = _POSITIONS * d_model * float_bytes
    return (samples + facts.n_mels * FULL_CONTEXT) * np.dtype(np.float32).itemsize + encoding


def window_memory_bytes(window_bytes: int, max_inflight_windows: int) -> int:
    """Return how much host memory the windows of all requests of a slot may take together.

    It always holds all windows of one request, so that batches can be as large as the settings allow.
    """
    return max(_WINDOW_MEMORY_BYTES, max_inflight_windows * window_bytes)


def encode_bytes(dimensions: ModelDimensions, compute_type: str) -> int:
    """Return how much GPU memory one window of 30 s needs at most in an encoder batch.

    CTranslate2 4.8 keeps the tensors of one layer at a time. The largest are the attention scores, before and after the
    softmax: 2 x heads x 1500 x 1500 (`dot_product_attention` in src/layers/attention.cc). Beside them are the layer's
    input, its normalised input, queries, keys and values, before and after they are split by head, and the output:
    9 x 1500 x d_model. For large-v3 (20 heads) in float16 these are 180 and 35 MB.
    """
    scores = 2 * dimensions.n_encoder_heads * _POSITIONS**2
    activations = 9 * _POSITIONS * dimensions.d_model
    return (scores + activations) * _float_bytes(compute_type)


def encoder_margin_s(settings: Settings, *, on_gpu: bool) -> float | None:
    """Return the seconds of silence that follow the speech in the encoder's input; None if it always gets 30 s.

    A GPU decodes sixteen windows in little more time than one, but only windows of one length share a call. Short
    contexts have many lengths, so nearly each window would be decoded alone.
    """
    context = settings.encoder_context or ("full" if on_gpu else "short")
    return settings.encoder_margin_s if context == "short" else None


def cpu_pool_threads() -> int:
    """Return the number of threads for voice activity detection and features.

    Each of them holds a block of audio in memory, and they share the cores with the model.
    """
    return min(len(os.sched_getaffinity(0)), _MAX_CPU_POOL_THREADS)


def _float_bytes(compute_type: str) -> int:
    """Bytes of a value that is not a quantized weight: int8_float16 computes attention in float16."""
    return 2 if compute_type.endswith("float16") else 4
