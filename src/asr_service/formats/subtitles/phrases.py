"""Where a phrase begins in a text that is written without spaces: by BudouX for Chinese, Japanese and Thai."""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import accumulate


def phrase_starts(text: str, language: str) -> Sequence[int]:
    """Offsets into `text`, a text without spaces, where phrases begin, 0 left out.

    Every offset, for a language whose phrases nobody tells apart here.
    """
    if language not in {"zh", "yue", "ja", "th"}:
        return range(1, len(text))
    return list(accumulate(map(len, _divider(language)(text))))[:-1]


@cache
def _divider(language: str) -> Callable[[str], list[str]]:
    import budoux  # noqa: PLC0415 - its models too are loaded where such a language is met, and not before

    load = {
        "zh": budoux.load_default_simplified_chinese_parser,  # does as well on traditional characters
        "yue": budoux.load_default_traditional_chinese_parser,
        "ja": budoux.load_default_japanese_parser,
        "th": budoux.load_default_thai_parser,
    }[language]
    return load().parse
