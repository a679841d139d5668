"""Finds phrases in text without spaces, with BudouX for Chinese, Japanese and Thai."""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import accumulate


def phrase_starts(text: str, language: str) -> Sequence[int]:
    """Return the offsets, without 0, at which phrases begin in a text without spaces.

    Every offset is returned for a language that BudouX has no model for.
    """
    if language not in {"zh", "yue", "ja", "th"}:
        return range(1, len(text))
    return list(accumulate(map(len, _parser(language)(text))))[:-1]


@cache
def _parser(language: str) -> Callable[[str], list[str]]:
    import budoux  # noqa: PLC0415 - load it and its models only for a text in such a language

    load = {
        "zh": budoux.load_default_simplified_chinese_parser,  # as good on traditional characters
        "yue": budoux.load_default_traditional_chinese_parser,
        "ja": budoux.load_default_japanese_parser,
        "th": budoux.load_default_thai_parser,
    }[language]
    return load().parse
