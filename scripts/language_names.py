"""Writes src/asr_service/language_names.py from ISO 639 and CLDR. Run it again when Whisper learns a language.

python -m venv /tmp/names && /tmp/names/bin/pip install pycountry babel langcodes language_data
PYTHONPATH=src /tmp/names/bin/python -m scripts.language_names

pycountry has the codes of ISO 639-2 and 639-3, langcodes the macrolanguages (`cmn` belongs to `zh`), and Babel the
names that speakers have for their languages, from CLDR. The service itself needs none of these packages.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asr_service.languages import LANGUAGES

_TARGET = Path(__file__).parent.parent / "src" / "asr_service" / "language_names.py"
_ISO = {"jw": "jv"}
"""Whisper's codes that are not those of ISO 639."""
_AMBIGUOUS = {"nor": "no", "nob": "no", "nno": "nn"}
"""Codes whose macrolanguage is another of Whisper's languages."""


def main() -> None:
    """Write the module."""
    codes = dict(sorted(_codes()))
    names = dict(sorted((name, code) for name, code in _names() if name not in LANGUAGES.values()))
    territories = dict(sorted(_territories()))
    _TARGET.write_text(
        '"""Further codes and names of Whisper\'s languages. `scripts/language_names.py` writes this file.\n\n'
        'Sources: ISO 639 as in pycountry, macrolanguages as in langcodes, names as in CLDR.\n"""\n\n'
        + _mapping("ISO_CODES", codes, "Whisper's codes by code of ISO 639-2 (both forms) and ISO 639-3.")
        + _mapping("OWN_NAMES", names, "Whisper's codes by the languages' own names, in lower case.")
        + _mapping("TERRITORIES", territories, "The language of a country with one official language, by those country "
                   "codes that are no codes of a language.").rstrip("\n") + "\n"
    )  # fmt: skip


def _codes() -> Iterator[tuple[str, str]]:
    import langcodes  # type: ignore[import-not-found]  # noqa: PLC0415 - not among the development dependencies
    import pycountry  # type: ignore[import-not-found]  # noqa: PLC0415

    by_iso = {_ISO.get(code, code): code for code in LANGUAGES}
    for language in pycountry.languages:
        iso = getattr(language, "alpha_2", language.alpha_3)
        macro = str(langcodes.get(iso).prefer_macrolanguage()).split("-")[0]
        code = _AMBIGUOUS.get(language.alpha_3) or by_iso.get(iso) or by_iso.get(macro)
        if code is None:
            continue
        for each in (language.alpha_3, getattr(language, "bibliographic", None)):
            if each and each not in LANGUAGES:
                yield each, code


def _names() -> Iterator[tuple[str, str]]:
    import langcodes  # noqa: PLC0415
    from babel import Locale, UnknownLocaleError  # type: ignore[import-not-found]  # noqa: PLC0415

    for code in LANGUAGES:
        iso = _ISO.get(code, code)
        own = {langcodes.get(iso).autonym()}
        for tag in (iso, f"{iso}_Latn", f"{iso}_Cyrl"):
            try:
                locale: Any = Locale.parse(tag)
                own.add(locale.get_display_name(iso) and locale.languages.get(iso))
            except (UnknownLocaleError, ValueError):
                continue
        yield from ((name.casefold(), code) for name in own if name and "(" not in name)


def _territories() -> Iterator[tuple[str, str]]:
    import pycountry  # noqa: PLC0415
    from babel.core import get_global  # type: ignore[import-not-found]  # noqa: PLC0415
    from babel.languages import (  # type: ignore[import-not-found]  # noqa: PLC0415
        get_official_languages,
    )

    likely = get_global("likely_subtags")
    for country in pycountry.countries:
        territory = country.alpha_2.lower()
        language = likely.get(f"und_{country.alpha_2}", "").split("_")[0]
        is_language = pycountry.languages.get(alpha_2=territory) is not None or territory in LANGUAGES
        is_only_one = [each.split("_")[0] for each in get_official_languages(country.alpha_2)] == [language]
        if language in LANGUAGES and is_only_one and not is_language:
            yield territory, language


def _mapping(name: str, values: dict[str, str], meaning: str) -> str:
    lines, line = [], "   "
    for key, value in values.items():
        item = f' "{key}": "{value}",'
        if len(line) + len(item) > 120:  # noqa: PLR2004 - the longest line of this project
            lines.append(line)
            line = "   "
        line += item
    return f'{name} = {{\n{chr(10).join([*lines, line])}\n}}  # fmt: skip\n"""{meaning}"""\n\n'


if __name__ == "__main__":
    main()
