"""The spelling of numbers in forms, queries, settings and arguments.

Python and pydantic also read `1_0` as 10 and `１` as 1, and they ignore spaces: a typing error would become a number.
"""

import re
from typing import Final

_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


def is_plain_number(text: str) -> bool:
    """Return whether the text is a number in ASCII digits, without underscores or spaces."""
    return _NUMBER.fullmatch(text) is not None
