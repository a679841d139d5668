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


class WhisperModel:
    """CTranslate2's Whisper."""

    def __init__(self, folder: Path, *, name: str, device: Device, compute_type: str, threads: int) -> None:
        """Load the model; seconds, and a CUDA context where `device` is one.

        Raises ModelUnavailable: the folder's files do not make a model. RuntimeError: the device cannot take it.
        """
        try:
            self._model = ctranslate2.models.Whisper(
                str(folder),
                device=device.kind,
                # A slot sees its own GPU alone, by CUDA_VISIBLE_DEVICES.
                device_index=0,
                compute_type=compute_type,
                inter_threads=threads + has_priority_thread(device),
                # On a CPU single-threaded calls side by side do two to four times the work of one parallel call.
                intra_threads=1,
                max_queued_batches=-1,
            )
            self.tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        except (RuntimeError, ValueError, OSError) as error:
            if _is_device_failure(str(error)):
                raise
            raise ModelUnavailable(f"the model in {folder} does not load: {error}") from error
        self.facts = ModelFacts(
            name=name,
            n_mels=self._model.n_mels,
            multilingual=self._model.is_multilingual,
            device=device,
            compute_type=self._model.compute_type,
            threads=threads,
            dimensions=read_dimensions(folder),
        )

    def encode(self, windows: Sequence[Features]) -> list[Encoding]:
        encoded = self._model.encode(_storage(windows), to_cpu=True)
        return list(np.array(encoded))

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


def _storage(arrays: Sequence[NDArray[np.floating]]) -> ctranslate2.StorageView:
    """One contiguous batch; a single array is not copied."""
    batch = arrays[0][np.newaxis] if len(arrays) == 1 else np.stack(arrays)
    return ctranslate2.StorageView.from_array(np.ascontiguousarray(batch))


def _generation(result: ctranslate2.models.WhisperGenerationResult) -> Generation:
    tokens = tuple(result.sequences_ids[0])
    # CTranslate2 divides the sum by the tokens; Whisper's rules count the end of text as one more.
    return Generation(tokens, result.scores[0] * len(tokens) / (len(tokens) + 1), result.no_speech_prob)


def _is_device_failure(message: str) -> bool:
    return any(sign in message.lower() for sign in ("cuda", "cublas", "out of memory", "compute type"))
