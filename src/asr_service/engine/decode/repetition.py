"""How much a text repeats itself, measured by how much zlib compresses it. Pure functions."""

import zlib
from unicodedata import east_asian_width


def compression_ratio(text: str) -> float:
    """Return how many times smaller zlib makes the text in UTF-8, as Whisper computes it; 0 for no text."""
    return _ratio(text.strip().encode())


def repetition(text: str) -> float:
    """Return the compression ratio of the text with one byte for each letter, in any alphabet.

    For English it equals `compression_ratio`. Letters of other alphabets take two or three bytes in UTF-8, and most of
    these bytes are alike. So plain Russian has a compression ratio of 1.9 where plain English has 1.5, and a voice mail
    menu in Russian exceeds Whisper's limit of 2.4 although it does not repeat itself. Full-width characters keep their
    UTF-8 bytes, since each of them carries more information than a letter.
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
    return _ratio(b"".join(codes[character] for character in text.strip()))


def _ratio(encoded: bytes) -> float:
    return len(encoded) / len(zlib.compress(encoded)) if encoded else 0.0
