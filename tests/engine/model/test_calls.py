"""Which windows can share a call of the model."""

from collections.abc import Hashable
from typing import Any

import numpy as np
import pytest

from asr_service.engine.model.calls import AlignCall, EncodeCall, GenerateCall
from asr_service.engine.model.prompt import generate_options
from asr_service.engine.model.vocabulary import Vocabulary
from asr_service.engine.options import DecodingOptions
from fakes import fake_tokenizer

VOCABULARY = Vocabulary(fake_tokenizer(), multilingual=True)


def encoding(n_frames: int) -> np.ndarray:
    return np.zeros((n_frames // 2, 4), np.float32)


def generate_key(*, language: str = "en", n_frames: int = 1024, **fields: Any) -> Hashable:
    options = DecodingOptions(**fields)
    prompt = VOCABULARY.prompt(options, language)
    return GenerateCall(encoding(n_frames), prompt, generate_options(options, prompt, options.temperature, ())).key


def align_key(*, language: str = "en", n_frames: int = 1024, text: tuple[int, ...] = (1, 2)) -> Hashable:
    start = VOCABULARY.tokenizer_for(language, "transcribe").sot_sequence
    return AlignCall(encoding(n_frames), tuple(start), text, 900).key


def test_windows_of_one_length_are_encoded_together():
    """Windows whose language is detected are encoded together with others."""
    keys = {EncodeCall(np.zeros((80, n), np.float32), detect).key for n in (1024, 1088) for detect in (False, True)}
    assert len(keys) == 2


@pytest.mark.parametrize("other", [{"language": "fr"}, {"task": "translate"}, {"initial_prompt": None}])
def test_languages_and_tasks_are_decoded_together(other):
    """Each of them is one token of the prompt, whatever its value."""
    assert generate_key(**other) == generate_key()


@pytest.mark.parametrize(
    "other",
    [
        {"beam_size": 1},
        {"temperature": 0.4},
        {"max_new_tokens": 20},
        {"initial_prompt": "x"},
        {"timestamps": False},
        {"n_frames": 1088},
    ],
    ids=lambda other: next(iter(other)),
)
def test_different_options_lengths_and_prompts_are_decoded_separately(other):
    """A call has only one value of each, so a request would get the value of another."""
    assert generate_key(**other) != generate_key()


def test_windows_of_one_language_are_aligned_together():
    """The call has one start sequence for all windows. Each window has its own text."""
    assert align_key(text=(1, 2, 3)) == align_key()
    assert align_key(language="fr") != align_key()
    assert align_key(n_frames=1088) != align_key()
