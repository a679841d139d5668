"""Read recordings and their reference texts from a folder with a manifest.jsonl.

The recordings are beside the manifest or in its subfolder `files/`. Each line of the manifest is an object with `file`,
`seconds`, `language`, `reference` and, unless it is plain speech, `category`. Lines without a reference or a length
and copies of another line (`duplicate_of`) are skipped.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Clip:
    path: Path
    seconds: float
    language: str | None
    """None without speech."""
    reference: str
    """Empty without speech."""
    category: str

    @property
    def set_name(self) -> str:
        """The set in which the clip is scored, such as `en, telephony`."""
        return f"{self.language or 'no speech'}, {self.category}"


def read_corpus(folder: Path) -> list[Clip]:
    """Read all clips of a folder that have a reference.

    Raises FileNotFoundError: when the folder has no manifest.jsonl.
    """
    files = audio_folder(folder)
    return [
        Clip(
            path=files / row["file"],
            seconds=row["seconds"],
            language=row.get("language") if row["reference"] else None,
            reference=row["reference"],
            category=row.get("category", "speech"),
        )
        for row in manifest(folder)
        if "reference" in row and "duplicate_of" not in row and "seconds" in row
    ]


def languages_in_turn(clips: Iterable[Clip]) -> list[Clip]:
    """Order clips so that the first ones have as many languages as possible."""
    by_language: dict[str | None, list[Clip]] = {}
    for clip in clips:
        by_language.setdefault(clip.language, []).append(clip)
    ranked = [(number, clip) for same in by_language.values() for number, clip in enumerate(same)]
    return [clip for _, clip in sorted(ranked, key=lambda each: each[0])]


def manifest(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield every line of the folder's manifest.jsonl."""
    with (folder / "manifest.jsonl").open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def audio_folder(folder: Path) -> Path:
    """Return the folder that holds the recordings."""
    return folder / "files" if (folder / "files").is_dir() else folder
