"""Which windows may share a call of the model."""

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


def generate_key(*, language: str = "en", n_frames: int = 1024, **asked: Any) -> Hashable:
    options = DecodingOptions(**asked)
    prompt = VOCABULARY.prompt(options, language)
    return GenerateCall(encoding(n_frames), prompt, generate_options(options, prompt, options.temperature, ())).key


def align_key(*, language: str = "en", n_frames: int = 1024, text: tuple[int, ...] = (1, 2)) -> Hashable:
    start = VOCABULARY.tokenizer_for(language, "transcribe").sot_sequence
    return AlignCall(encoding(n_frames), tuple(start), text, 900).key


def test_windows_of_one_length_are_encoded_together():
    """Whether their language is asked for or not."""
    keys = {EncodeCall(np.zeros((80, n), np.float32), detect).key for n in (1024, 1088) for detect in (False, True)}
    assert len(keys) == 2


@pytest.mark.parametrize("other", [{"language": "fr"}, {"task": "translate"}, {"initial_prompt": None}])
def test_languages_and_tasks_are_decoded_together(other):
    """They are tokens of the prompt, one for one."""
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
def test_what_a_call_has_one_of_is_decoded_apart(other):
    """Options, the window's length, where the prompt's parts stand: else a request would get its neighbour's."""
    assert generate_key(**other) != generate_key()


def test_words_are_timed_together_in_one_language():
    """The call has one start for all its windows; their texts are their own."""
    assert align_key(text=(1, 2, 3)) == align_key()
    assert align_key(language="fr") != align_key()
    assert align_key(n_frames=1088) != align_key()
