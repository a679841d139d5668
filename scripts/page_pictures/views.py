"""Which states docs/page.md shows, and how."""

from pathlib import Path
from typing import Final

from scripts.page_pictures.camera import Chosen, View

DOCS: Final = Path(__file__).parents[2] / "docs" / "page"

_WIDE: Final = View(1280, 800)
_MIDDLE: Final = View(820, 700)
_PHONE: Final = View(360, 740, is_phone=True)


def documented(locale: str) -> Chosen:
    """Return the pictures of docs/page.md in one language of the browser."""
    return Chosen(DOCS, _VIEWS[locale])


_VIEWS: Final[dict[str, dict[str, View]]] = {
    "en-GB": {
        "empty": _WIDE,
        "dropping": _MIDDLE,
        "options": _PHONE.tall(1000),
        "recording": _MIDDLE,
        "no-microphone": _PHONE,
        "queue": _WIDE,
        "busy": _MIDDLE.tall(860),
        "lost": _MIDDLE.tall(860).dark(),
        "too-large": _MIDDLE.tall(860),
        "key": _MIDDLE,
        "running": _MIDDLE,
        "editor": _WIDE,
        "editing": _MIDDLE,
        "speakers": _MIDDLE.dark(),
        "find": _WIDE.dark(),
        "download": _MIDDLE,
        "keys": _MIDDLE.tall(860),
        "other-language": _MIDDLE,
        "editor-phone": _PHONE.dark(),
    },
    "zh-CN": {"empty-zh": _PHONE.dark(), "editor-zh": _MIDDLE},
}

LOCALES: Final = tuple(_VIEWS)
"""The languages of the browser in which pictures are taken."""
