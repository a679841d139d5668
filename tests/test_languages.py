"""Codes and names of languages, as users write them."""

import pytest

from asr_service.errors import InvalidParameter
from asr_service.language_names import ISO_CODES, OWN_NAMES, TERRITORIES
from asr_service.languages import LANGUAGES, ChineseScript, chosen_script, parse_language


@pytest.mark.parametrize(
    ("given", "code"),
    {
        "deu": "de", "ger": "de", "spa": "es", "cmn": "zh", "zho": "zh", "arb": "ar", "pes": "fa", "nob": "no",
        "nno": "nn", "jav": "jw", "swh": "sw", "ekk": "et", "FRA": "fr", "por-BR": "pt", "zh_Hans-CN": "zh",
        "sr-Latn-RS": "sr", "iw": "he", "in": "id", "yue": "yue",
        "Deutsch": "de", "español": "es", "espanol": "es", "ESPAÑOL": "es", "français": "fr", "Francais": "fr",
        "русский": "ru", "Українська": "uk", "日本語": "ja", "中文": "zh", "한국어": "ko", "العربية": "ar",
        "हिन्दी": "hi",
        "tiếng việt": "vi", "Türkçe": "tr", "bahasa Indonesia": "id", "espan\u0303ol": "es", "English (US)": "en",
        " Portuguese ": "pt", "haitian creole": "ht", "Kreyòl Ayisyen": "ht",
    }.items(),
)  # fmt: skip
def test_codes_and_own_names_are_known(given: str, code: str) -> None:
    """ISO 639-1, 639-2 and 639-3, with a region or script, and names with or without their accents."""
    assert parse_language(given) == code


@pytest.mark.parametrize(
    ("given", "script"),
    {
        "zh-Hans": "zh-Hans", "zh-CN": "zh-Hans", "zh-SG": "zh-Hans", "ZH_cn": "zh-Hans", "zh_Hans_HK": "zh-Hans",
        "cmn-Hans-CN": "zh-Hans", "Chinese (Simplified)": "zh-Hans", "simplified chinese": "zh-Hans",
        "简体中文": "zh-Hans", "中文(简体)": "zh-Hans", "yue-Hans": "zh-Hans",
        "zh-Hant": "zh-Hant", "zh-TW": "zh-Hant", "zh_hant_tw": "zh-Hant", " Zh-Hant-CN ": "zh-Hant",
        "Traditional Chinese": "zh-Hant", "繁體中文": "zh-Hant",
        "zh-HK": "zh-HK", "zh-MO": "zh-HK", "zh-Hant-HK": "zh-HK", "yue-Hant-HK": "zh-HK",
        "zh": None, "yue": None, "Mandarin": None, "auto": None, "sr-Latn": None, "en-HK": None, "my": None,
    }.items(),
)  # fmt: skip
def test_a_language_may_name_a_script(given: str, script: str | None) -> None:
    """By its tag, by a country, or in words. The script is more precise than a country."""
    assert chosen_script(given) == (script and ChineseScript(script))


def test_every_language_has_its_iso_codes() -> None:
    """Each of Whisper's languages has a code of three letters, and no table names an unknown language."""
    assert {code for code in LANGUAGES if len(code) == 2} <= set(ISO_CODES.values())
    assert {*ISO_CODES.values(), *OWN_NAMES.values(), *TERRITORIES.values()} <= set(LANGUAGES)
    for code, name in LANGUAGES.items():
        assert parse_language(code) == parse_language(name) == code
    assert not ISO_CODES.keys() & LANGUAGES.keys()
    assert not TERRITORIES.keys() & LANGUAGES.keys()


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("jp", "Did you mean 'ja'?"),
        ("cz", "Did you mean 'cs'?"),
        ("portugese", "Did you mean 'portuguese'?"),
        ("germn", "Did you mean 'german'?"),
        ("Deutsh", "Did you mean 'deutsch'?"),
    ],
)
def test_a_mistake_gets_a_hint(given: str, hint: str) -> None:
    """A country's code leads to its language, and a misspelt name to the name."""
    with pytest.raises(InvalidParameter) as raised:
        parse_language(given)
    assert hint in raised.value.message


@pytest.mark.parametrize("given", ["Klingon", "ga", "kr", "doi", "xx", "q", "", "de en", "🎤", "english?" * 9])
def test_a_wrong_hint_is_never_given(given: str) -> None:
    """Irish and Kanuri have codes, but Whisper does not know them: no other language is near."""
    with pytest.raises(InvalidParameter) as raised:
        parse_language(given)
    assert "Did you mean" not in raised.value.message
    assert "one of these codes: af, am, ar, " in raised.value.message
