"""Whisper on CTranslate2."""

from collections.abc import Sequence
from pathlib import Path

import ctranslate2
import numpy as np
import tokenizers
from numpy.typing import NDArray

from asr_service.audio.features import Features
from asr_service.engine.model.protocol import (
    Alignment,
    Encoding,
    GenerateOptions,
    Generation,
    ModelFacts,
    has_priority_thread,
)
from asr_service.errors import ModelUnavailable
from asr_service.hardware.devices import Device
from asr_service.models.dimensions import read_dimensions
from asr_service.models.fingerprint import fingerprint


class WhisperModel:
    """A `SpeechModel` that runs on CTranslate2."""

    def __init__(self, folder: Path, *, name: str, device: Device, compute_type: str, threads: int) -> None:
        """Load the model, which takes seconds. On a GPU it makes a CUDA context.

        Raises ModelUnavailable: the files in the folder are not a usable model. RuntimeError: the device cannot hold
        the model.
        """
        try:
            self._model = ctranslate2.models.Whisper(
                str(folder),
                device=device.kind,
                device_index=0,  # this process sees only its own GPU (`device_environment`)
                compute_type=compute_type,
                inter_threads=threads + has_priority_thread(device),
                # On a CPU, single-threaded calls side by side do two to four times the work of one parallel call.
                intra_threads=1,
                max_queued_batches=-1,
            )
            self.tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
            revision = fingerprint(folder)
        except (RuntimeError, ValueError, OSError) as error:
            if _is_device_failure(str(error)):
                raise
            raise ModelUnavailable(f"The model in {folder} does not load: {str(error).rstrip('.')}.") from error
        self.facts = ModelFacts(
            name=name,
            n_mels=self._model.n_mels,
            multilingual=self._model.is_multilingual,
            device=device,
            compute_type=self._model.compute_type,
            threads=threads,
            dimensions=read_dimensions(folder),
            revision=revision,
        )

    def encode(self, windows: Sequence[Features]) -> list[Encoding]:
        encoded = to_array(self._model.encode(_storage(windows), to_cpu=True))
        return [encoding.copy() for encoding in encoded]  # a view would keep the whole batch in memory

    def detect_languages(self, encodings: Sequence[Encoding]) -> list[dict[str, float]]:
        found = self._model.detect_language(_storage(encodings))
        return [{token[2:-2]: probability for token, probability in languages} for languages in found]

    def generate(
        self, encodings: Sequence[Encoding], prompts: Sequence[Sequence[int]], options: GenerateOptions
    ) -> list[Generation]:
        how = (
            {"beam_size": options.beam_size}
            if options.temperature == 0
            else {
                "beam_size": 1,
                "num_hypotheses": options.beam_size,
                "sampling_topk": 0,
                "sampling_temperature": options.temperature,
            }
        )
        results = self._model.generate(
            _storage(encodings),
            [list(prompt) for prompt in prompts],
            max_length=options.max_length,
            suppress_tokens=list(options.suppress_tokens),
            repetition_penalty=options.repetition_penalty,
            return_scores=True,
            return_no_speech_prob=True,
            **how,
        )
        return [_generation(result) for result in results]

    def align(
        self,
        encodings: Sequence[Encoding],
        start_sequence: Sequence[int],
        text_tokens: Sequence[Sequence[int]],
        n_frames: Sequence[int],
    ) -> list[Alignment]:
        results = self._model.align(
            _storage(encodings), list(start_sequence), [list(tokens) for tokens in text_tokens], list(n_frames)
        )
        return [Alignment(tuple(result.alignments), tuple(result.text_token_probs)) for result in results]


def to_array(encoded: ctranslate2.StorageView) -> NDArray[np.floating]:
    """Return a batch in host memory as an array: float16 or float32. NumPy has no bfloat16, which becomes float32."""
    if encoded.dtype == ctranslate2.DataType.bfloat16:
        encoded = encoded.to(ctranslate2.DataType.float32)
    return np.asarray(encoded)


def _storage(arrays: Sequence[NDArray[np.floating]]) -> ctranslate2.StorageView:
    """Stack arrays into one contiguous batch. A single array is not copied."""
    batch = arrays[0][np.newaxis] if len(arrays) == 1 else np.stack(arrays)
    return ctranslate2.StorageView.from_array(np.ascontiguousarray(batch))


def _generation(result: ctranslate2.models.WhisperGenerationResult) -> Generation:
    tokens = tuple(result.sequences_ids[0])
    # CTranslate2 divides the sum by the number of tokens; Whisper's rules count the end of text as one more.
    return Generation(tokens, result.scores[0] * len(tokens) / (len(tokens) + 1), result.no_speech_prob)


def _is_device_failure(message: str) -> bool:
    return any(sign in message.lower() for sign in ("cuda", "cublas", "out of memory", "compute type"))
