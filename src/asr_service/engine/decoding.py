"""How a window is decoded: the options, the prompt, and the rules that send it round again."""

import zlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Literal
from unicodedata import east_asian_width

import tokenizers
from faster_whisper.tokenizer import Tokenizer

from asr_service.audio.vad import VadOptions
from asr_service.engine.model import GenerateOptions, Generation

Task = Literal["transcribe", "translate"]

MAX_LENGTH = 448
"""Tokens that Whisper's decoder takes, prompt included."""
_MAX_PROMPT = MAX_LENGTH // 2 - 1
_FALLBACK_TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_MAX_COMPRESSION_RATIO = 2.4
_MIN_LOGPROB = -1.0
_MAX_NO_SPEECH_PROB = 0.6


@dataclass(frozen=True, slots=True)
class DecodingOptions:
    """What a request asks for, checked against the model."""

    task: Task = "transcribe"
    language: str | None = None
    """A code; None detects it from the first speech."""
    language_per_chunk: bool = False
    """Detect the language of each window anew."""
    beam_size: int = 5
    temperature: float = 0.0
    """0 starts with beam search and falls back to sampling, hotter each time; above 0, this temperature alone."""
    initial_prompt: str | None = None
    hotwords: str | None = None
    max_new_tokens: int = MAX_LENGTH
    timestamps: bool = True
    word_timestamps: bool = False
    vad_filter: bool = True
    vad: VadOptions = field(default_factory=VadOptions)

    @property
    def temperatures(self) -> tuple[float, ...]:
        return _FALLBACK_TEMPERATURES if self.temperature == 0 else (self.temperature,)


class Vocabulary:
    """A model's tokens, and the prompts made of them."""

    def __init__(self, tokenizer: tokenizers.Tokenizer, *, multilingual: bool) -> None:
        self._tokenizer = tokenizer
        self._multilingual = multilingual
        self._speakers: dict[tuple[str, Task], Tokenizer] = {}

    def speaker(self, language: str, task: Task) -> Tokenizer:
        """faster-whisper's view of the tokenizer for one language and task."""
        if (language, task) not in self._speakers:
            self._speakers[language, task] = Tokenizer(self._tokenizer, self._multilingual, task, language)
        return self._speakers[language, task]

    @cached_property
    def timestamp_begin(self) -> int:
        return int(self.speaker("en", "transcribe").timestamp_begin)

    @cached_property
    def suppressed(self) -> tuple[int, ...]:
        """Tokens that are no speech: brackets, notes, speaker marks, and the tokens of the protocol itself."""
        any_speaker = self.speaker("en", "transcribe")
        protocol = (
            any_speaker.transcribe,
            any_speaker.translate,
            any_speaker.sot,
            any_speaker.sot_prev,
            any_speaker.sot_lm,
            any_speaker.no_speech,
        )
        return tuple(sorted({*any_speaker.non_speech_tokens, *(token for token in protocol if token is not None)}))

    def text(self, tokens: Sequence[int]) -> str:
        return str(self.speaker("en", "transcribe").decode(list(tokens)))

    def words_of(self, tokens: Sequence[int]) -> list[int]:
        """The tokens that are text."""
        eot = self.speaker("en", "transcribe").eot
        return [token for token in tokens if token < eot]

    def prompt(self, options: DecodingOptions, language: str, spoken: Sequence[int] = ()) -> "Prompt":
        """The tokens that the decoder begins with: what came before, then language and task.

        `spoken` are text tokens said just before the window; of too many, the last count.
        """
        speaker = self.speaker(language, options.task)
        # Of the text of users, text alone: what looks like a token of the protocol would be one.
        expected, said = (
            self.words_of(speaker.encode(" " + text.strip())) if text and text.strip() else []
            for text in (options.hotwords, options.initial_prompt)
        )
        before = expected[:_MAX_PROMPT]
        # A prompt may be all that was said so far: its end is nearest to what comes.
        before += said[max(0, len(said) + len(before) - _MAX_PROMPT) :]
        before += list(spoken)[len(before) - _MAX_PROMPT :] if len(before) < _MAX_PROMPT else []
        start = [*speaker.sot_sequence, *([] if options.timestamps else [speaker.no_timestamps])]
        return Prompt(tuple([speaker.sot_prev, *before, *start] if before else start), len(before) + bool(before))


@dataclass(frozen=True, slots=True)
class Prompt:
    tokens: tuple[int, ...]
    sot_index: int
    """Where `<|startoftranscript|>` stands."""

    @property
    def shape(self) -> Hashable:
        """Prompts of one shape may share a batch: https://github.com/OpenNMT/CTranslate2 takes no others."""
        return self.sot_index, len(self.tokens)


def generate_options(
    options: DecodingOptions,
    prompt: Prompt,
    temperature: float,
    suppressed: tuple[int, ...],
    repetition_penalty: float = 1.0,
) -> GenerateOptions:
    # See most_tokens.
    wanted = max(2 * options.max_new_tokens, len(prompt.tokens) + options.max_new_tokens)
    return GenerateOptions(
        beam_size=options.beam_size,
        temperature=temperature,
        max_length=min(MAX_LENGTH, wanted),
        suppress_tokens=suppressed,
        repetition_penalty=repetition_penalty,
    )


def most_tokens(options: GenerateOptions, prompt: Prompt) -> int:
    """CTranslate2 gives no more than half of max_length, and no more than the prompt leaves of it."""
    return min(options.max_length // 2, options.max_length - len(prompt.tokens))


class Verdict(StrEnum):
    """What Whisper's rules say of a generation."""

    GOOD = "good"
    SILENT = "silent"
    REPETITIVE = "repetitive"
    UNLIKELY = "unlikely"


def judge(generation: Generation, repeated: float) -> Verdict:
    """Apply the rules of https://github.com/openai/whisper/blob/main/whisper/transcribe.py.

    `repeated` is how often the text repeats itself, as their compression ratio.
    """
    unlikely = generation.avg_logprob < _MIN_LOGPROB
    if unlikely and generation.no_speech_prob > _MAX_NO_SPEECH_PROB:
        return Verdict.SILENT
    if repeated > _MAX_COMPRESSION_RATIO:
        return Verdict.REPETITIVE
    return Verdict.UNLIKELY if unlikely else Verdict.GOOD


def compression_ratio(text: str) -> float:
    """How much shorter zlib makes the text in UTF-8, as Whisper has it."""
    return _shortened(text.strip().encode())


def repetition(text: str) -> float:
    """How much shorter zlib makes the text in a byte a letter; a text that repeats itself is far over 2.

    In English that is the compression ratio. Letters of another alphabet take two or three bytes each in UTF-8, most of
    them alike: plain Russian comes to 1.9 there where plain English comes to 1.5, and the menu of a voice mail is over
    Whisper's limit. Characters as wide as two stay as they are, for each says more than a letter does.
    """
    codes: dict[str, bytes] = {}
    n_letters = 0
    for character in text.strip():
        if character in codes:
            continue
        if character.isascii() or east_asian_width(character) in {"F", "W"}:
            codes[character] = character.encode()
        else:
            codes[character] = bytes([128 + n_letters % 128])
            n_letters += 1
    return _shortened(b"".join(codes[character] for character in text.strip()))


def _shortened(encoded: bytes) -> float:
    return len(encoded) / len(zlib.compress(encoded)) if encoded else 0.0
