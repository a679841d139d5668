"""Finds a text that appears twice in a row. Pure functions.

With a prompt and a short context, the model now and then writes the whole text again after its end. A copy may have
small changes: another spelling, a word more.
"""

from typing import Final
from unicodedata import category, east_asian_width

import numpy as np

_MIN_LETTERS: Final = 10
"""A shorter sequence is often spoken twice. A full-width letter counts as two."""
_MIN_LETTERS_OF_ALL: Final = 6
"""The same if the sequence and its copy are the whole text of a window."""
_MAX_LETTERS: Final = 600
"""Of a longer text only the last letters are compared, because the time grows with the square of their number."""
_COMPARED: Final = frozenset("LMN")
"""The classes of Unicode that are compared: letters, marks (vowels of many alphabets) and digits."""
_SIZE: Final = 3
"""Number of letters that are compared at a time."""
_MAX_SHIFT: Final = 2
"""How many letters more or less the copy may have up to a place."""
_MIN_EQUAL: Final = 0.6
"""Share of the places of a sequence that are equal in its copy. One changed letter changes `_SIZE` places."""
_MAX_REST: Final = 8
"""The copy ends the text, except for this many letters or a quarter of its length. Other sequences with a copy are
mostly parallel clauses: press 1 for this, press 2 for that."""


def doubled_letters(text: str, shortest: int = 0, *, spans_windows: bool = False) -> int:
    """Return how many letters the longest sequence has that follows directly on a sequence much like it; 0 for none.

    Only letters, their marks and digits are compared, without case. Sequences of less than `shortest` letters are not
    searched. `spans_windows` says that the text begins with the end of the text before the window.
    """
    letters = [letter for letter in text.casefold() if category(letter)[0] in _COMPARED][-_MAX_LETTERS:]
    shortest = max(shortest, _MIN_LETTERS_OF_ALL // 2)
    if len(letters) < 2 * shortest:
        return 0
    codes = np.array([ord(letter) for letter in letters], np.int64)
    width = np.cumsum([0, *(2 if east_asian_width(letter) in {"F", "W"} else 1 for letter in letters)])
    groups = np.lib.stride_tricks.sliding_window_view(codes, _SIZE)
    places = groups @ (1 << 21 * np.arange(_SIZE))  # one number for each group of letters
    padded = np.concatenate([places, np.full(_MAX_SHIFT, -1)])
    for length in range(len(letters) // 2, shortest - 1, -1):
        n = len(places) - length
        equal = np.zeros(n, bool)
        for shift in range(-_MAX_SHIFT, _MAX_SHIFT + 1):
            equal |= places[:n] == padded[length + shift : length + shift + n]
        # The last places of the first sequence reach into the second one, so they count less.
        n_equal = np.concatenate([[0], np.cumsum(equal)])
        compared = length - _SIZE + 1
        starts = np.arange(max(0, n - compared + 1))
        enough = n_equal[starts + compared] - n_equal[starts] >= _MIN_EQUAL * compared
        is_all = not spans_windows and 2 * length + _MAX_SHIFT >= len(letters)
        long = width[starts + length] - width[starts] >= (_MIN_LETTERS_OF_ALL if is_all else _MIN_LETTERS)
        ends = starts + 2 * length >= len(letters) - max(_MAX_REST, length // 4)
        if np.any(enough & long & ends):
            return length
    return 0
