"""The files of the page: JavaScript modules, styles, fonts and texts, as they are in the package."""

from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

_MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}
"""The suffixes of files that are served. Other files are not."""
_TEMPLATE: Final = "index.html"
_DIGITS: Final = 16


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of the page."""

    body: bytes
    media_type: str
    etag: str


@dataclass(frozen=True, slots=True)
class Assets:
    """All files of the page."""

    template: str
    """The HTML of the page, with `$name` for what the service fills in."""
    files: dict[str, Asset]
    """By path below the folder of the page, such as `core/dom.js`."""
    version: str
    """Changes when any file changes."""

    @property
    def locales(self) -> tuple[str, ...]:
        """Return the languages of the page, such as `en`: each has a file in `i18n`."""
        folder = "i18n/"
        return tuple(sorted(path[len(folder) : -len(".json")] for path in self.files if path.startswith(folder)))


@cache
def page_assets() -> Assets:
    """Read the files, once for each process."""
    root = resources.files(__package__) / "static"
    files = dict(sorted(_read(root, "").items()))
    template = (root / _TEMPLATE).read_text(encoding="utf-8")
    version = sha256(template.encode())
    for path, asset in files.items():
        version.update(path.encode() + asset.etag.encode())
    return Assets(template, files, version.hexdigest()[:_DIGITS])


def etag(body: bytes) -> str:
    """Return a strong ETag."""
    return f'"{sha256(body).hexdigest()[:_DIGITS]}"'


def _read(folder: Traversable, prefix: str) -> dict[str, Asset]:
    files: dict[str, Asset] = {}
    for entry in folder.iterdir():
        path = prefix + entry.name
        if entry.is_dir():
            files |= _read(entry, f"{path}/")
        elif media_type := _MEDIA_TYPES.get(f".{entry.name.rpartition('.')[2]}"):
            body = entry.read_bytes()
            files[path] = Asset(body, media_type, etag(body))
    return files
