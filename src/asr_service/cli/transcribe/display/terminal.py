"""Text made safe to print on a terminal."""

import unicodedata
from typing import Final

_BIDI_AND_SEPARATORS: Final = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029"
"""Characters that reverse or break the text after them: https://unicode.org/reports/tr9/"""


def printable(text: str) -> str:
    """Escape control characters, undecodable bytes, and characters that change the direction of the text."""
    return "".join(map(_escaped, text))


def _escaped(letter: str) -> str:
    # Cc: escape sequences and line ends. Cs: bytes of a name that are not text. Cf would also escape emoji joiners.
    if unicodedata.category(letter) in {"Cc", "Cs"} or letter in _BIDI_AND_SEPARATORS:
        return letter.encode("unicode_escape", "surrogatepass").decode("ascii")
    return letter
