"""Recordings with what is said in them: a folder with a manifest.jsonl and the files beside it, or in `files/`.

A line of the manifest is an object with `file`, `seconds`, `language`, `reference` and, where it is not plain speech,
`category`. Lines without a reference, and copies of another line (`duplicate_of`), are left out.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Clip:
    path: Path
    seconds: float
    language: str | None
    """None where nobody speaks."""
    reference: str
    """Empty where nobody speaks."""
    category: str

    @property
    def set_name(self) -> str:
        return f"{self.language or 'no speech'}, {self.category}"


def read_corpus(folder: Path) -> list[Clip]:
    """Raises FileNotFoundError: there is no manifest.jsonl in the folder."""
    with (folder / "manifest.jsonl").open(encoding="utf-8") as lines:
        return list(_clips(folder, map(json.loads, lines)))


def _clips(folder: Path, rows: Iterator[dict[str, Any]]) -> Iterator[Clip]:
    files = folder / "files" if (folder / "files").is_dir() else folder
    for row in rows:
        if "reference" in row and "duplicate_of" not in row and "seconds" in row:
            yield Clip(
                path=files / row["file"],
                seconds=row["seconds"],
                language=row.get("language") if row["reference"] else None,
                reference=row["reference"],
                category=row.get("category", "speech"),
            )
