"""Further codes and names of Whisper's languages. `scripts/language_names.py` writes this file.

Sources: ISO 639 as in pycountry, macrolanguages as in langcodes, names as in CLDR.
"""

ISO_CODES = {
    "afr": "af", "alb": "sq", "als": "sq", "amh": "am", "ara": "ar", "arb": "ar", "arm": "hy", "asm": "as", "aze": "az",
    "azj": "az", "bak": "ba", "baq": "eu", "bel": "be", "ben": "bn", "bod": "bo", "bos": "bs", "bre": "br", "bul": "bg",
    "bur": "my", "cat": "ca", "ces": "cs", "chi": "zh", "cmn": "zh", "cnr": "sr", "cym": "cy", "cze": "cs", "dan": "da",
    "deu": "de", "dut": "nl", "ekk": "et", "ell": "el", "eng": "en", "est": "et", "eus": "eu", "fao": "fo", "fas": "fa",
    "fin": "fi", "fra": "fr", "fre": "fr", "geo": "ka", "ger": "de", "glg": "gl", "gre": "el", "guj": "gu", "hat": "ht",
    "hau": "ha", "hbs": "sr", "heb": "he", "hin": "hi", "hrv": "hr", "hun": "hu", "hye": "hy", "ice": "is", "ind": "id",
    "isl": "is", "ita": "it", "jav": "jw", "jpn": "ja", "kan": "kn", "kat": "ka", "kaz": "kk", "khk": "mn", "khm": "km",
    "kor": "ko", "lao": "lo", "lat": "la", "lav": "lv", "lin": "ln", "lit": "lt", "ltz": "lb", "lvs": "lv", "mac": "mk",
    "mal": "ml", "mao": "mi", "mar": "mr", "may": "ms", "mkd": "mk", "mlg": "mg", "mlt": "mt", "mon": "mn", "mri": "mi",
    "msa": "ms", "mya": "my", "nep": "ne", "nld": "nl", "nno": "nn", "nob": "no", "nor": "no", "npi": "ne", "oci": "oc",
    "pan": "pa", "pbu": "ps", "per": "fa", "pes": "fa", "plt": "mg", "pol": "pl", "por": "pt", "prs": "fa", "pus": "ps",
    "ron": "ro", "rum": "ro", "rus": "ru", "san": "sa", "sin": "si", "slk": "sk", "slo": "sk", "slv": "sl", "sna": "sn",
    "snd": "sd", "som": "so", "spa": "es", "sqi": "sq", "srp": "sr", "sun": "su", "swa": "sw", "swc": "sw", "swe": "sv",
    "swh": "sw", "tam": "ta", "tat": "tt", "tel": "te", "tgk": "tg", "tgl": "tl", "tha": "th", "tib": "bo", "tuk": "tk",
    "tur": "tr", "ukr": "uk", "urd": "ur", "uzb": "uz", "uzn": "uz", "vie": "vi", "wel": "cy", "ydd": "yi", "yid": "yi",
    "yor": "yo", "zho": "zh", "zsm": "ms",
}  # fmt: skip
"""Whisper's codes by code of ISO 639-2 (both forms) and ISO 639-3."""

OWN_NAMES = {
    "azərbaycan": "az", "bahasa indonesia": "id", "bahasa malaysia": "ms", "basa sunda": "su", "bosanski": "bs",
    "brezhoneg": "br", "català": "ca", "chishona": "sn", "cymraeg": "cy", "dansk": "da", "deutsch": "de", "eesti": "et",
    "español": "es", "euskara": "eu", "filipino": "tl", "français": "fr", "føroyskt": "fo", "galego": "gl",
    "hrvatski": "hr", "indonesia": "id", "italiano": "it", "jawa": "jw", "kiswahili": "sw", "kreyòl ayisyen": "ht",
    "latina": "la", "latviešu": "lv", "lietuvių": "lt", "lingua latina": "la", "lingála": "ln", "lëtzebuergesch": "lb",
    "magyar": "hu", "malti": "mt", "melayu": "ms", "māori": "mi", "nederlands": "nl", "norsk": "no",
    "norsk nynorsk": "nn", "o‘zbek": "uz", "polski": "pl", "português": "pt", "română": "ro", "shqip": "sq",
    "slovenčina": "sk", "slovenščina": "sl", "soomaali": "so", "srpski": "sr", "suomi": "fi", "svenska": "sv",
    "tiếng việt": "vi", "türkmen dili": "tk", "türkçe": "tr", "èdè yorùbá": "yo", "íslenska": "is", "čeština": "cs",
    "ʻōlelo hawaiʻi": "haw", "ελληνικά": "el", "азәрбајҹан": "az", "башҡорт": "ba", "башҡорт теле": "ba",
    "беларуская": "be", "босански": "bs", "български": "bg", "македонски": "mk", "монгол": "mn", "русский": "ru",
    "српски": "sr", "татар": "tt", "тоҷикӣ": "tg", "українська": "uk", "ўзбекча": "uz", "қазақ тілі": "kk",
    "հայերեն": "hy", "ייִדיש": "yi", "עברית": "he", "اردو": "ur", "العربية": "ar", "سنڌي": "sd", "فارسی": "fa",
    "پښتو": "ps", "नेपाली": "ne", "मराठी": "mr", "संस्कृत भाषा": "sa", "हिन्दी": "hi", "অসমীয়া": "as", "বাংলা": "bn",
    "ਪੰਜਾਬੀ": "pa", "ગુજરાતી": "gu", "தமிழ்": "ta", "తెలుగు": "te", "ಕನ್ನಡ": "kn", "മലയാളം": "ml", "සිංහල": "si",
    "ไทย": "th", "ລາວ": "lo", "བོད་སྐད་": "bo", "မြန်မာ": "my", "ქართული": "ka", "አማርኛ": "am", "ខ្មែរ": "km",
    "中文": "zh", "日本語": "ja", "粵語": "yue", "한국어": "ko",
}  # fmt: skip
"""Whisper's codes by the languages' own names, in lower case."""

TERRITORIES = {
    "ad": "ca", "al": "sq", "ao": "pt", "at": "de", "ax": "sv", "bd": "bn", "bf": "fr", "bh": "ar", "bj": "fr",
    "bl": "fr", "cd": "fr", "cg": "fr", "ci": "fr", "cl": "es", "cn": "zh", "cz": "cs", "dk": "da", "do": "es",
    "eg": "ar", "eh": "ar", "ge": "ka", "gf": "fr", "gp": "fr", "gr": "el", "gt": "es", "gw": "pt", "hn": "es",
    "iq": "ar", "ir": "fa", "jo": "ar", "jp": "ja", "kh": "km", "kp": "ko", "ly": "ar", "mc": "fr", "md": "ro",
    "me": "sr", "mf": "fr", "mm": "my", "mq": "fr", "mz": "pt", "nc": "fr", "ni": "es", "np": "ne", "pm": "fr",
    "pr": "es", "qa": "ar", "re": "fr", "sy": "ar", "tj": "tg", "tm": "tk", "ua": "uk", "uy": "es", "vn": "vi",
    "wf": "fr", "ye": "ar", "yt": "fr",
}  # fmt: skip
"""The language of a country with one official language, by those country codes that are no codes of a language."""
