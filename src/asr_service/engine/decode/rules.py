"""Whisper's rules on a decoded window."""

import zlib
from enum import StrEnum
from unicodedata import east_asian_width

from asr_service.engine.model.protocol import Generation

_MAX_COMPRESSION_RATIO = 2.4


_MIN_LOGPROB = -1.0


_MAX_NO_SPEECH_PROB = 0.6


class Verdict(StrEnum):
    """What Whisper's rules say of a generation."""

    GOOD = "good"
    SILENT = "silent"
    REPETITIVE = "compression_ratio"
    UNLIKELY = "low_logprob"


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
