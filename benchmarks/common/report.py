"""Format tables in Markdown, and write the results of a benchmark."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "results"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format a Markdown table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [heads, ["---"] * len(heads), *rows])


def facts(about: Mapping[str, object]) -> str:
    """Format a Markdown list of `key: value` lines."""
    return "\n".join(f"- {key}: {value}" for key, value in about.items())


def save(out: Path, data: object, text: str) -> None:
    """Write `data` to `out`.json and `text` to `out`.md."""
    save_json(out, data)
    save_text(out, text)


def save_json(out: Path, data: object) -> None:
    """Write `data` to `out`.json. Creates the folder if it is missing."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def save_text(out: Path, text: str) -> None:
    """Write `text` to `out`.md. Creates the folder if it is missing."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".md").write_text(text, encoding="utf-8")
