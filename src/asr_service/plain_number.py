"""The spelling of numbers in forms, queries, settings and arguments.

Python and pydantic also read `1_0` as 10 and `１` as 1, and they ignore spaces: a typing error would become a number.
"""

import re
from typing import Final

_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


def is_odd_number(given: object, value: object) -> bool:
    """Return True if a text was read as the number `value`, but is no plain number."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and isinstance(given, str) and not is_plain_number(given)


def is_plain_number(text: str) -> bool:
    """Return whether the text is a number in ASCII digits, without underscores or spaces."""
    return _NUMBER.fullmatch(text) is not None
