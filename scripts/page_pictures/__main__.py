"""Take the pictures: `python -m scripts.page_pictures`. It needs Chromium and the recordings of the tests.

With `--all FOLDER` every state is taken at three widths and in both themes, to look at after a change of the page;
`--locale zh-CN` takes those of one language of the browser.
"""

import argparse
from pathlib import Path

from scripts.page_pictures.camera import Camera, Review
from scripts.page_pictures.services import running_services
from scripts.page_pictures.stories import STORIES
from scripts.page_pictures.views import DOCS, LOCALES, documented


def main() -> None:
    """Take the pictures that the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m scripts.page_pictures", description=__doc__)
    parser.add_argument("--all", type=Path, metavar="FOLDER", help="take every state at all widths, into this folder")
    parser.add_argument("--locale", choices=LOCALES, help="take the pictures of this language alone")
    parser.add_argument("--only", action="append", choices=sorted(STORIES), help="take these stories alone")
    arguments = parser.parse_args()
    locales = (arguments.locale,) if arguments.locale else ("en-GB",) if arguments.all else LOCALES
    with running_services() as services, Camera() as camera:
        for locale in locales:
            album = Review(arguments.all, locale) if arguments.all else documented(locale)
            for name in arguments.only or STORIES:
                STORIES[name](camera.stage(services, album, locale))
    if not arguments.all:
        size = sum(path.stat().st_size for path in DOCS.glob("*.webp"))
        print(f"{DOCS}: {size / 1000:.0f} kB")  # noqa: T201 - what a person wants to know of the pictures


if __name__ == "__main__":
    main()
