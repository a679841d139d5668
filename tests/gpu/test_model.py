"""The model's calls on a device: precisions, encodings in host memory, threads, batches and alignment."""

import math
from concurrent.futures import ThreadPoolExecutor

import ctranslate2
import numpy as np
import pytest

from asr_service.engine.model.protocol import Alignment
from asr_service.errors import ConfigurationError
from asr_service.hardware.devices import Device
from asr_service.models.registry import COMPUTE_TYPES
from gpu.decoding import align, prompt_and_options, text_tokens, transcribe, transcribe_each
from gpu.devices import CPU

MIN_EQUAL_SHARE = 0.9
"""Sums over a batch are rounded differently for each size, which may change a token that is nearly a tie."""


def supported_precisions(device: Device) -> list[str]:
    found = ctranslate2.get_supported_compute_types(device.kind)
    return [precision for precision in COMPUTE_TYPES if precision in found]


@pytest.mark.parametrize("precision", COMPUTE_TYPES)
def test_a_precision_transcribes_or_is_refused_before_the_model_loads(load, device, windows, precision):
    """A device without the precision causes a configuration error that names the precisions it has."""
    if precision not in supported_precisions(device):
        with pytest.raises(ConfigurationError, match="float32"):
            load(compute_type=precision)
        return
    model = load(compute_type=precision)
    assert model.facts.compute_type.startswith(precision)  # int8 becomes int8_float32
    for generation in transcribe(model, windows(2)):
        assert generation.tokens
        assert math.isfinite(generation.avg_logprob)
        assert generation.avg_logprob < 0


def test_an_encoding_that_went_through_host_memory_decodes_like_one_that_stayed_on_the_device(
    load, device, model_folder, windows
):
    """The tokens and their probability are equal in each precision, so the copy loses nothing."""
    batch = windows(4)
    for precision in supported_precisions(device):
        model = load(compute_type=precision)
        prompt, options = prompt_and_options(model)
        through_host = transcribe(model, batch)
        resident = ctranslate2.models.Whisper(str(model_folder), device=device.kind, compute_type=precision)
        encoded = resident.encode(ctranslate2.StorageView.from_array(np.stack(batch)), to_cpu=False)
        results = resident.generate(
            encoded,
            [list(prompt.tokens)] * len(batch),
            beam_size=options.beam_size,
            max_length=options.max_length,
            suppress_tokens=list(options.suppress_tokens),
            return_scores=True,
        )
        assert [generation.tokens for generation in through_host] == [tuple(each.sequences_ids[0]) for each in results]
        for generation, result in zip(through_host, results, strict=True):
            n = len(generation.tokens)
            assert generation.avg_logprob == pytest.approx(result.scores[0] * n / (n + 1), rel=1e-4)


@pytest.mark.parametrize("n_threads", [1, 2, 4])
def test_threads_do_not_change_the_tokens(load, windows, n_threads):
    """Calls that run at the same time return what they return alone."""
    batch = windows(8)
    alone = transcribe_each(load(compute_type="float32"), batch)
    model = load(compute_type="float32", model_threads=n_threads)
    with ThreadPoolExecutor(n_threads) as pool:
        together = list(pool.map(lambda window: transcribe(model, [window])[0], batch))
    assert [each.tokens for each in together] == [each.tokens for each in alone]


@pytest.mark.parametrize("n_windows", [16, 32, 64])
def test_a_batch_decodes_each_window_as_if_it_were_alone(load, device, windows, n_windows):
    batch = windows(n_windows // 8 if device == CPU else n_windows)
    model = load(compute_type="float32")
    together, alone = transcribe(model, batch), transcribe_each(model, batch)
    equal = [one.tokens == other.tokens for one, other in zip(together, alone, strict=True)]
    assert sum(equal) >= MIN_EQUAL_SHARE * len(batch)
    for one, other in zip(together, alone, strict=True):
        assert one.avg_logprob == pytest.approx(other.avg_logprob, abs=0.05)


def test_windows_with_texts_of_different_lengths_are_aligned_as_if_they_were_alone(load, windows):
    """In a batch, the texts and the windows without their padding have different lengths."""
    batch = windows(4)
    model = load(compute_type="float32")
    texts = [text_tokens(model, generation) for generation in transcribe_each(model, batch)]
    texts = [tokens[: max(1, len(tokens) * (at + 1) // len(texts))] for at, tokens in enumerate(texts)]
    n_frames = [1000, 3000, 500, 2000]
    assert len({len(tokens) for tokens in texts}) > 1
    together = align(model, batch, texts, n_frames)
    for at, alignment in enumerate(together):
        (alone,) = align(model, [batch[at]], [texts[at]], [n_frames[at]])
        assert len(alignment.token_probs) == len(texts[at])
        assert alignment.token_probs == pytest.approx(alone.token_probs, abs=0.02)
        starts, starts_alone = token_starts(alignment), token_starts(alone)
        assert max(frame for _, frame in alignment.pairs) < n_frames[at] // 2
        assert [frame for _, frame in alignment.pairs] == sorted(frame for _, frame in alignment.pairs)
        equal = [abs(start - starts_alone[token]) <= 1 for token, start in starts.items()]
        assert sum(equal) >= MIN_EQUAL_SHARE * len(equal)


def token_starts(alignment: Alignment) -> dict[int, int]:
    """Return the first frame of each token."""
    return dict(reversed(alignment.pairs))
