"""Decode windows with one model in the ways that the tests compare."""

from collections.abc import Sequence

from asr_service.audio.features import Features
from asr_service.engine.model.prompt import Prompt, generate_options
from asr_service.engine.model.protocol import Alignment, GenerateOptions, Generation
from asr_service.engine.model.vocabulary import Vocabulary
from asr_service.engine.model.whisper import WhisperModel
from asr_service.engine.options import DecodingOptions

_OPTIONS = DecodingOptions(language="en", max_new_tokens=30)


def prompt_and_options(model: WhisperModel) -> tuple[Prompt, GenerateOptions]:
    vocabulary = Vocabulary(model.tokenizer, multilingual=model.facts.multilingual)
    prompt = vocabulary.prompt(_OPTIONS, "en")
    return prompt, generate_options(_OPTIONS, prompt, 0.0, vocabulary.suppressed)


def transcribe(model: WhisperModel, windows: Sequence[Features]) -> list[Generation]:
    """Encode and decode the windows in one call each."""
    prompt, options = prompt_and_options(model)
    return model.generate(model.encode(windows), [prompt.tokens] * len(windows), options)


def transcribe_each(model: WhisperModel, windows: Sequence[Features]) -> list[Generation]:
    """Encode and decode each window in calls of its own."""
    return [transcribe(model, [window])[0] for window in windows]


def align(
    model: WhisperModel, windows: Sequence[Features], texts: Sequence[Sequence[int]], n_frames: Sequence[int]
) -> list[Alignment]:
    """Encode the windows and align their text tokens in one call."""
    vocabulary = Vocabulary(model.tokenizer, multilingual=model.facts.multilingual)
    start = vocabulary.tokenizer_for("en", "transcribe").sot_sequence
    return model.align(model.encode(windows), start, texts, n_frames)


def text_tokens(model: WhisperModel, generation: Generation) -> list[int]:
    return Vocabulary(model.tokenizer, multilingual=model.facts.multilingual).text_tokens(generation.tokens)
