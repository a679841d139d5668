"""The pictures of docs/page.md are those that the script takes."""

import re

from scripts.page_pictures.views import DOCS, LOCALES, documented

MAX_BYTES = 1_500_000


def test_each_documented_state_has_a_picture_and_no_other_file_is_there() -> None:
    """The document shows all of them."""
    taken = {state for locale in LOCALES for state in documented(locale).views}
    assert {path.stem for path in DOCS.iterdir()} == taken
    assert set(re.findall(r"page/([\w-]+)\.webp", (DOCS.parent / "page.md").read_text(encoding="utf-8"))) == taken


def test_the_pictures_are_small() -> None:
    """A clone of the repository has all of them."""
    assert sum(path.stat().st_size for path in DOCS.iterdir()) < MAX_BYTES
