"""The languages of Whisper, by code and by name.

Source: https://github.com/openai/whisper/blob/main/whisper/tokenizer.py
"""

import difflib
import re
import unicodedata
from enum import StrEnum

from asr_service.errors import ConfigurationError, InvalidParameter
from asr_service.language_names import ISO_CODES, OWN_NAMES, TERRITORIES

LANGUAGES = {
    "en": "english", "zh": "chinese", "de": "german", "es": "spanish", "ru": "russian", "ko": "korean",
    "fr": "french", "ja": "japanese", "pt": "portuguese", "tr": "turkish", "pl": "polish", "ca": "catalan",
    "nl": "dutch", "ar": "arabic", "sv": "swedish", "it": "italian", "id": "indonesian", "hi": "hindi",
    "fi": "finnish", "vi": "vietnamese", "he": "hebrew", "uk": "ukrainian", "el": "greek", "ms": "malay",
    "cs": "czech", "ro": "romanian", "da": "danish", "hu": "hungarian", "ta": "tamil", "no": "norwegian",
    "th": "thai", "ur": "urdu", "hr": "croatian", "bg": "bulgarian", "lt": "lithuanian", "la": "latin",
    "mi": "maori", "ml": "malayalam", "cy": "welsh", "sk": "slovak", "te": "telugu", "fa": "persian",
    "lv": "latvian", "bn": "bengali", "sr": "serbian", "az": "azerbaijani", "sl": "slovenian", "kn": "kannada",
    "et": "estonian", "mk": "macedonian", "br": "breton", "eu": "basque", "is": "icelandic", "hy": "armenian",
    "ne": "nepali", "mn": "mongolian", "bs": "bosnian", "kk": "kazakh", "sq": "albanian", "sw": "swahili",
    "gl": "galician", "mr": "marathi", "pa": "punjabi", "si": "sinhala", "km": "khmer", "sn": "shona",
    "yo": "yoruba", "so": "somali", "af": "afrikaans", "oc": "occitan", "ka": "georgian", "be": "belarusian",
    "tg": "tajik", "sd": "sindhi", "gu": "gujarati", "am": "amharic", "yi": "yiddish", "lo": "lao",
    "uz": "uzbek", "fo": "faroese", "ht": "haitian creole", "ps": "pashto", "tk": "turkmen", "nn": "nynorsk",
    "mt": "maltese", "sa": "sanskrit", "lb": "luxembourgish", "my": "myanmar", "bo": "tibetan", "tl": "tagalog",
    "mg": "malagasy", "as": "assamese", "tt": "tatar", "haw": "hawaiian", "ln": "lingala", "ha": "hausa",
    "ba": "bashkir", "jw": "javanese", "su": "sundanese", "yue": "cantonese",
}  # fmt: skip
"""English names by Whisper's codes. Only the vocabulary of large-v3 has `yue`."""

DETECT, DETECT_EACH_WINDOW = "auto", "auto-per-chunk"
"""The values of a language option that request detection: once for the recording, or in each window."""

UNSPACED_LANGUAGES = frozenset({"zh", "ja", "th", "lo", "my", "yue"})
"""Languages that are written without spaces between words."""


CHINESE = frozenset({"zh", "yue"})
"""Languages that are written in Chinese characters of one of the scripts of `ChineseScript`."""


class ChineseScript(StrEnum):
    """A way to write Chinese characters. The values are BCP 47 tags."""

    SIMPLIFIED = "zh-Hans"
    TRADITIONAL = "zh-Hant"
    """Traditional characters in the forms of Taiwan."""
    HONG_KONG = "zh-HK"
    """Traditional characters in the forms of Hong Kong."""


def written_language(spoken: str, task: str) -> str:
    """Return the code of the text's language. Translations are in English."""
    return "en" if task == "translate" else spoken


_OTHER_NAMES = {
    "burmese": "my", "valencian": "ca", "flemish": "nl", "haitian": "ht", "letzeburgesch": "lb", "pushto": "ps",
    "panjabi": "pa", "moldavian": "ro", "moldovan": "ro", "sinhalese": "si", "castilian": "es", "mandarin": "zh",
    "farsi": "fa", "simplified chinese": "zh", "traditional chinese": "zh", "简体中文": "zh", "繁體中文": "zh",
    "繁体中文": "zh",
}  # fmt: skip
_OTHER_CODES = {"jv": "jw", "iw": "he", "in": "id", "ji": "yi", "nb": "no", "fil": "tl"}


_SIMPLIFIED = frozenset({"hans", "simplified", "简体", "简体中文"})
_TRADITIONAL = frozenset({"hant", "traditional", "繁體", "繁体", "繁體中文", "繁体中文"})
_SCRIPT_OF_REGION = {
    "cn": ChineseScript.SIMPLIFIED,
    "sg": ChineseScript.SIMPLIFIED,
    "my": ChineseScript.SIMPLIFIED,
    "tw": ChineseScript.TRADITIONAL,
    "hk": ChineseScript.HONG_KONG,
    "mo": ChineseScript.HONG_KONG,
}


def _plain(text: str) -> str:
    """Return the text without accents if it is in the Latin alphabet; people often cannot type them."""
    base = "".join(each for each in unicodedata.normalize("NFKD", text) if not unicodedata.combining(each))
    return base if base.isascii() else unicodedata.normalize("NFC", text)


_BY_NAME = {
    _plain(name): code
    for name, code in (OWN_NAMES | _OTHER_NAMES | {name: code for code, name in LANGUAGES.items()}).items()
}
_BY_CODE = ISO_CODES | _OTHER_CODES | {code: code for code in LANGUAGES}
_MIN_CHARACTERS_OF_A_NAME = 4
"""Shorter texts are codes. No code is near another: a wrong letter makes another language."""


def parse_language(text: str) -> str:
    """Return Whisper's code for a code (`pt`, `pt-BR`, `por`) or a name (`Portuguese`, `português`).

    Codes are those of ISO 639-1, 639-2 and 639-3. Raises InvalidParameter: Whisper does not know the language.
    """
    wanted = _plain(text.strip().casefold())
    for name in (wanted, wanted.replace("_", "-").split("-")[0], wanted.split("(")[0].strip()):
        if name in _BY_CODE:
            return _BY_CODE[name]
        if name in _BY_NAME:
            return _BY_NAME[name]
    raise InvalidParameter(f"Language {text[:40]!r} is not supported. {_hint(wanted)}", param="language")


def language_codes(text: str) -> tuple[str, ...]:
    """Return every code of a language: Whisper's and those of ISO 639. Empty if Whisper does not know the language."""
    try:
        code = parse_language(text)
    except InvalidParameter:
        return ()
    return (code, *(each for each, of in _BY_CODE.items() if of == code and each != code))


def _hint(wanted: str) -> str:
    if wanted in TERRITORIES:
        return f"{wanted!r} is the code of a country. Did you mean {TERRITORIES[wanted]!r}?"
    if len(wanted) >= _MIN_CHARACTERS_OF_A_NAME:
        near = difflib.get_close_matches(wanted, _BY_NAME, n=1, cutoff=0.75)
        if near:
            return f"Did you mean {near[0]!r}?"
    return f"Use a name such as 'english' or one of these codes: {', '.join(sorted(LANGUAGES))}."


def chosen_language(text: str) -> str | None:
    """Return the code of a requested language, or None if it must be detected.

    Raises InvalidParameter: Whisper does not know the language.
    """
    return None if text.strip().lower() in {DETECT, DETECT_EACH_WINDOW} else parse_language(text)


def chosen_script(text: str) -> ChineseScript | None:
    """Return the script that a requested language names (`zh-TW`, `zh_Hans`, `Chinese (Simplified)`), if any.

    Raises InvalidParameter: Whisper does not know the language.
    """
    if chosen_language(text) not in CHINESE:
        return None
    parts = re.split(r"[-_\s()]+", text.strip().casefold())
    region = next((_SCRIPT_OF_REGION[part] for part in parts if part in _SCRIPT_OF_REGION), None)
    if not _SIMPLIFIED.isdisjoint(parts):
        return ChineseScript.SIMPLIFIED
    if not _TRADITIONAL.isdisjoint(parts):
        return ChineseScript.HONG_KONG if region is ChineseScript.HONG_KONG else ChineseScript.TRADITIONAL
    return region


def detects_each_window(text: str) -> bool:
    """Return whether the language is detected in each window instead of once for the recording."""
    return text.strip().lower() == DETECT_EACH_WINDOW


def check_language(language: str | None) -> None:
    """Check ASR_LANGUAGE at start. Raises ConfigurationError: Whisper does not know the language."""
    try:
        chosen_language(language or DETECT)
    except InvalidParameter as error:
        raise ConfigurationError(f"ASR_LANGUAGE: {error.message}", param="ASR_LANGUAGE") from error
